"""Where the gate's answers are not those of one broker with ACLs, and why. Everything else is equal,
field by field. An entry that no longer happens fails the run: take it out."""

from compare import ANY, MISSING, Difference


def text(value):
    return isinstance(value, str) and value != MISSING


def text_or_none(value):
    return value is None or text(value)


KNOWN = [
    # --- what is offered
    Difference(
        "apis-not-offered",
        "An API that is not in the gate's table is not advertised: administration, share and "
        "streams groups, what brokers say among themselves.",
        ("ApiVersions",), r"ApiKeys\[\d+\]", ANY, MISSING),
    Difference(
        "fetch-15",
        "From Fetch 16 on brokers name other brokers behind the records; 15 is otherwise the same.",
        ("ApiVersions",), r"ApiKeys\[1\]\.MaxVersion", 18, 15),
    Difference(
        "add-partitions-3",
        "AddPartitionsToTxn 4 and 5 are for brokers: any client is refused with 31.",
        ("ApiVersions",), r"ApiKeys\[24\]\.MaxVersion", 5, 3),
    Difference(
        "api-versions-5",
        "The gate answers ApiVersions itself, and knows Kafka 4.4's already.",
        ("ApiVersions",), r"ApiKeys\[18\]\.MaxVersion", 4, 5),
    Difference(
        "features-supported",
        "What brokers could be upgraded to matters to who upgrades them. What is in force goes "
        "through, since clients choose the transaction protocol by it.",
        ("ApiVersions",), r"SupportedFeatures\[[a-z.]+\]", ANY, MISSING),
    Difference(
        "features-epoch",
        "The epoch counts the changes of one cluster's metadata; these are two clusters.",
        ("ApiVersions",), r"FinalizedFeaturesEpoch", ANY, ANY),
    Difference(
        "no-authorizer",
        "DescribeAcls: MirrorMaker 2 takes no other error than 54 for 'there are none to mirror'. "
        "The gate's grants are not the cluster's ACLs.",
        ("DescribeAcls",), r"ErrorCode", 31, 54),
    Difference(
        "no-authorizer-text", "The words of 54; a broker's name its own address with 31.",
        ("DescribeAcls",), r"ErrorMessage", text, "No Authorizer is configured on the broker"),

    # --- what would tell of the cluster
    Difference(
        "own-words",
        "A broker's words may name hosts, connections and brokers: each text is the error code's "
        "standard one, which clients know by heart.",
        (), r"(.*\.)?ErrorMessage", text, text_or_none),
    Difference(
        "member-hosts",
        "The host of a group's member is, to a broker, the gate's inner address, or that of another "
        "participant.",
        ("DescribeGroups", "ConsumerGroupDescribe"), r".*\.ClientHost", "/127.0.0.1", ""),
    Difference(
        "no-fetch-session",
        "Session 0 says that there is none, as a broker with a full cache does: brokers' sessions "
        "are known by number alone, whoever they belong to.",
        ("Fetch",), r"SessionId", ANY, 0, "opens a session"),

    # --- topic ids
    Difference(
        "foreign-ids",
        "A broker tells a foreign topic's id (29) from an unknown one (100). Behind the gate both "
        "are unknown.",
        (), r".*\.(Partition)?ErrorCode", 29, 100),
    Difference(
        "former-ids",
        "The id of a topic that was deleted and made anew: the gate still knows whose it was, and "
        "looks at the rights of that name first. To a broker it is unknown at once.",
        ("Produce",), r".*\.ErrorCode", 100, 29, "by the former id"),
    Difference(
        "zero-id",
        "Metadata for the zero id: a 4.3.1 broker fails the whole request with -1. The gate says "
        "that this id is unknown.",
        ("Metadata",), r"(Brokers|ClusterId|ControllerId|ErrorCode|Topics).*", ANY, ANY, "id zero"),

    # --- order of lists
    Difference(
        "order",
        "Brokers put topics, partitions and groups into hash sets on their way; the gate keeps the "
        "client's order and puts what it refuses, or another broker answers, behind. Clients look "
        "answers up by name.",
        ("Metadata", "DescribeTopicPartitions", "ListOffsets", "OffsetForLeaderEpoch", "Fetch",
         "Produce", "OffsetCommit", "OffsetFetch", "OffsetDelete", "AddPartitionsToTxn",
         "TxnOffsetCommit", "DescribeGroups", "ConsumerGroupDescribe", "DeleteGroups",
         "ConsumerGroupHeartbeat"),
        r".*\[order\]", ANY, ANY),

    # --- logging in again
    Difference(
        "another-mechanism",
        "A re-authentication by another mechanism: both say 33 in a first login, and a broker ends "
        "an open session instead.",
        ("SaslHandshake",), "", "closed", ANY, "a mechanism that is not there"),

    # --- without acknowledgement
    Difference(
        "all-or-nothing",
        "Produce with acks=0 and a foreign topic among others: both end the connection, the only "
        "answer there is. A broker has written the rest; the gate has sent nothing of it.",
        ("Records",), r"parts-silent 1", ANY, MISSING),

    # --- which of two errors comes first
    Difference(
        "absent-before-timestamp",
        "ListOffsets of a partition that is not there, by a timestamp newer than the version: a "
        "broker looks at the timestamp first. The gate has nobody to ask.",
        ("ListOffsets",), r"Topics\[.*\]\.Partitions\[\d+\]\.ErrorCode", 35, 3),
    Difference(
        "rights-before-protocol",
        "SyncGroup of a foreign group without a protocol: the gate looks at the rights first.",
        ("SyncGroup",), r"ErrorCode", 23, 30, "foreign, no protocol"),
    Difference(
        "rights-before-records",
        "Produce without the right to: the gate refuses before anybody looks into the records.",
        ("Produce",), r".*\.ErrorCode", frozenset((2, 53)), 29,
        "not a batch|transactional without id"),
    Difference(
        "absent-cursor",
        "DescribeTopicPartitions of all topics asks for the granted names, and the place to go on "
        "from may be one that is not there.",
        ("DescribeTopicPartitions",), r"NextCursor\.TopicName", ANY, "parts-absent"),
]
