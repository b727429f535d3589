"""The same denials on the wire, field by field, in every version that the gate offers, as a broker
with ACLs would give them."""

import time
import uuid

import pytest

import gate as gates
import messages
import wire

FOREIGN, GROUP, TRANSACTION = "other-parts", "mallory-1", "mallory-t"
ZERO = uuid.UUID(int=0)
NO_OPERATIONS = -2147483648


GRANTS = [gates.grant("read-bob", "bob", ["serial-parts"], "bob"),
          gates.grant("write-alice", "alice", ["serial-parts"], "alice", ["read", "write"])]


@pytest.fixture(scope="module")
def gate(make_gate, serial_parts, other_topic):
    # Hundreds of denials on purpose: without the pause that a hot client gets.
    return make_gate("exact", grants=GRANTS, config={"limits": {"denial_pace_ms": 0}})


@pytest.fixture
def bob(gate):
    with gate.wire(gate.token("bob")) as connection:
        yield connection


@pytest.fixture(scope="module")
def offered(gate):
    """API name -> range of versions, as the gate offers them."""
    with gate.wire(gate.token("bob")) as connection:
        answer = connection.ask("ApiVersions", 3, {"ClientSoftwareName": "e2e",
                                                   "ClientSoftwareVersion": "1"})
    names = messages.names()
    return {names[a["ApiKey"]]: range(a["MinVersion"], a["MaxVersion"] + 1)
            for a in answer["ApiKeys"]}


def versions(offered, name, low=0, high=99):
    found = [v for v in offered[name] if max(low, messages.request(name).versions.low) <= v <= high]
    assert found, f"{name} is not offered"
    return found


def assert_fields(got, expected):
    """`expected` may leave out what a version does not have, not what it has."""
    for name, value in expected.items():
        if name in got:
            assert got[name] == value, f"{name}: {got[name]!r} instead of {value!r}"


def only(items):
    assert len(items) == 1, items
    return items[0]


TABLE = {"ApiVersions", "SaslHandshake", "SaslAuthenticate", "Metadata", "DescribeTopicPartitions",
         "DescribeCluster", "FindCoordinator", "Fetch", "ListOffsets", "OffsetForLeaderEpoch",
         "JoinGroup", "SyncGroup", "Heartbeat", "LeaveGroup", "OffsetCommit", "OffsetFetch",
         "ConsumerGroupHeartbeat", "ConsumerGroupDescribe", "DescribeGroups", "ListGroups",
         "DeleteGroups", "OffsetDelete", "Produce", "InitProducerId", "AddPartitionsToTxn",
         "AddOffsetsToTxn", "EndTxn", "TxnOffsetCommit", "DescribeConfigs", "DescribeAcls"}


def test_exactly_the_table_is_offered(offered):
    assert set(offered) == TABLE
    assert offered["Produce"][0] == 0
    assert offered["AddPartitionsToTxn"][-1] <= 3 and offered["InitProducerId"][-1] <= 5
    assert offered["Fetch"][0] == 4


def test_metadata(offered, bob):
    for version in versions(offered, "Metadata"):
        answer = bob.ask("Metadata", version, {"Topics": [{"Name": FOREIGN}]})
        assert_fields(only(answer["Topics"]), {
            "ErrorCode": 29, "Name": FOREIGN, "TopicId": ZERO, "IsInternal": False,
            "Partitions": [], "TopicAuthorizedOperations": NO_OPERATIONS})
        if version >= 1:
            answer = bob.ask("Metadata", version, {"Topics": None})
            assert [t["Name"] for t in answer["Topics"]] == ["serial-parts"]
        assert [(b["NodeId"], b.get("Rack")) for b in answer["Brokers"]] == [(0, None)]
        granted = bob.ask("Metadata", version, {"Topics": [{"Name": "serial-parts"}]})
        assert only(granted["Topics"])["ErrorCode"] == 0
        assert {p["LeaderId"] for p in granted["Topics"][0]["Partitions"]} == {0}
        assert len(granted["Topics"][0]["Partitions"]) == 12


def test_metadata_by_foreign_and_unknown_id(offered, bob, cluster):
    """Both are unknown: ids tell nothing about what exists."""
    foreign = topic_id(cluster, FOREIGN)
    for version in versions(offered, "Metadata", low=12):
        for identity in (foreign, uuid.uuid4()):
            answer = bob.ask("Metadata", version, {"Topics": [{"TopicId": identity,
                                                               "Name": None}]})
            assert_fields(only(answer["Topics"]), {
                "ErrorCode": 100, "Name": None, "TopicId": identity, "Partitions": []})


def topic_id(cluster, topic):
    """The true id, asked of a broker."""
    with wire.Wire(*cluster.address(0)) as connection:
        return connection.ask("Metadata", 12, {"Topics": [{"Name": topic}]})["Topics"][0]["TopicId"]


def test_describe_topic_partitions(offered, bob):
    for version in versions(offered, "DescribeTopicPartitions"):
        answer = bob.ask("DescribeTopicPartitions", version,
                         {"Topics": [{"Name": FOREIGN}, {"Name": "serial-parts"}]})
        first, second = answer["Topics"]
        assert (first["Name"], first["ErrorCode"]) == ("serial-parts", 0)
        assert_fields(second, {"ErrorCode": 29, "Name": FOREIGN, "TopicId": ZERO,
                               "IsInternal": False, "Partitions": []})
        everything = bob.ask("DescribeTopicPartitions", version, {"Topics": []})
        assert [t["Name"] for t in everything["Topics"]] == ["serial-parts"]


def test_fetch(offered, bob):
    for version in versions(offered, "Fetch", high=12):
        answer = bob.ask("Fetch", version, {
            "ReplicaId": -1, "MaxWaitMs": 100, "MinBytes": 0, "SessionId": 0, "SessionEpoch": -1,
            "MaxBytes": 1 << 20, "Topics": [{"Topic": FOREIGN, "Partitions": [
                {"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20}]}]})
        assert answer.get("ErrorCode", 0) == 0
        topic = only(answer["Responses"])
        assert topic["Topic"] == FOREIGN
        assert_fields(only(topic["Partitions"]), {
            "PartitionIndex": 0, "ErrorCode": 29, "HighWatermark": -1, "LastStableOffset": -1,
            "LogStartOffset": -1, "AbortedTransactions": [], "PreferredReadReplica": -1,
            "Records": b""})


def test_fetch_by_foreign_and_unknown_id(offered, bob, cluster):
    foreign = topic_id(cluster, FOREIGN)
    for version in versions(offered, "Fetch", low=13):
        for identity in (foreign, uuid.uuid4()):
            answer = bob.ask("Fetch", version, {
                "MaxWaitMs": 100, "MinBytes": 0, "SessionId": 0, "SessionEpoch": -1,
                "Topics": [{"TopicId": identity, "Partitions": [
                    {"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1 << 20}]}]})
            topic = only(answer["Responses"])
            assert topic["TopicId"] == identity
            assert_fields(only(topic["Partitions"]), {"ErrorCode": 100, "Records": b""})


def test_fetch_mixes_granted_and_denied(offered, bob):
    """One by one: the granted partitions' records come, the foreign ones' do not."""
    version = versions(offered, "Fetch", high=12)[-1]
    part = [{"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 1000}]
    answer = bob.ask("Fetch", version, {
        "ReplicaId": -1, "MaxWaitMs": 100, "MinBytes": 0, "SessionId": 0, "SessionEpoch": -1,
        "Topics": [{"Topic": FOREIGN, "Partitions": part},
                   {"Topic": "serial-parts", "Partitions": part}]})
    found = {t["Topic"]: only(t["Partitions"]) for t in answer["Responses"]}
    assert len(answer["Responses"]) == 2
    assert (found[FOREIGN]["ErrorCode"], found[FOREIGN]["Records"]) == (29, b"")
    assert found["serial-parts"]["ErrorCode"] == 0 and found["serial-parts"]["Records"]


def test_list_offsets(offered, bob):
    for version in versions(offered, "ListOffsets", low=1):
        answer = bob.ask("ListOffsets", version, {"ReplicaId": -1, "Topics": [
            {"Name": FOREIGN, "Partitions": [{"PartitionIndex": 0, "Timestamp": -1}]}]})
        assert_fields(only(only(answer["Topics"])["Partitions"]), {
            "PartitionIndex": 0, "ErrorCode": 29, "Timestamp": -1, "Offset": -1,
            "LeaderEpoch": -1})


def test_offset_for_leader_epoch(offered, bob):
    for version in versions(offered, "OffsetForLeaderEpoch"):
        answer = bob.ask("OffsetForLeaderEpoch", version, {"ReplicaId": -1, "Topics": [
            {"Topic": FOREIGN, "Partitions": [{"Partition": 0, "LeaderEpoch": 0}]}]})
        assert_fields(only(only(answer["Topics"])["Partitions"]), {
            "ErrorCode": 29, "LeaderEpoch": -1, "EndOffset": -1})


def test_find_coordinator(offered, bob):
    for version in versions(offered, "FindCoordinator"):
        for kind, key, code in ((0, GROUP, 30), (1, TRANSACTION, 53)):
            if version == 0 and kind == 1:
                continue
            if version < 4:
                answer = bob.ask("FindCoordinator", version, {"Key": key, "KeyType": kind})
                text = {30: "Group authorization failed.",
                        53: "Transactional Id authorization failed."}[code]
            else:
                answer = only(bob.ask("FindCoordinator", version, {
                    "KeyType": kind, "CoordinatorKeys": [key]})["Coordinators"])
                text = ""
            assert_fields(answer, {"ErrorCode": code, "ErrorMessage": text, "NodeId": -1,
                                   "Host": "", "Port": -1})


def test_join_group(offered, bob):
    for version in versions(offered, "JoinGroup"):
        answer = bob.ask("JoinGroup", version, {
            "GroupId": GROUP, "SessionTimeoutMs": 10000, "RebalanceTimeoutMs": 10000,
            "MemberId": "", "ProtocolType": "consumer",
            "Protocols": [{"Name": "range", "Metadata": b"\0\0\0\0\0\0\0\0\0\0"}]})
        assert_fields(answer, {"ErrorCode": 30, "GenerationId": -1, "ProtocolType": None,
                               "ProtocolName": None if version >= 7 else "", "Leader": "",
                               "MemberId": "", "Members": []})


def test_sync_group(offered, bob):
    for version in versions(offered, "SyncGroup"):
        answer = bob.ask("SyncGroup", version, {
            "GroupId": GROUP, "GenerationId": 1, "MemberId": "m", "ProtocolType": "consumer",
            "ProtocolName": "range"} if version >= 5 else {
            "GroupId": GROUP, "GenerationId": 1, "MemberId": "m"})
        assert_fields(answer, {"ErrorCode": 30, "Assignment": b""})


def test_heartbeat_and_leave(offered, bob):
    for version in versions(offered, "Heartbeat"):
        assert bob.ask("Heartbeat", version, {"GroupId": GROUP, "GenerationId": 1,
                                              "MemberId": "m"})["ErrorCode"] == 30
    for version in versions(offered, "LeaveGroup"):
        body = {"GroupId": GROUP} | ({"MemberId": "m"} if version < 3
                                     else {"Members": [{"MemberId": "m"}]})
        assert_fields(bob.ask("LeaveGroup", version, body), {"ErrorCode": 30, "Members": []})


def test_offset_commit(offered, bob):
    for version in versions(offered, "OffsetCommit", low=2, high=9):
        for group, topic, code in ((GROUP, "serial-parts", 30), ("bob-x", FOREIGN, 29)):
            answer = bob.ask("OffsetCommit", version, {
                "GroupId": group, "GenerationIdOrMemberEpoch": -1, "MemberId": "",
                "Topics": [{"Name": topic, "Partitions": [
                    {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": ""}]}]})
            assert only(only(answer["Topics"])["Partitions"])["ErrorCode"] == code


def test_offset_fetch(offered, bob):
    for version in versions(offered, "OffsetFetch", low=1, high=9):
        asked = [{"Name": FOREIGN, "PartitionIndexes": [0]}]
        if version < 8:
            answer = bob.ask("OffsetFetch", version, {"GroupId": GROUP, "Topics": asked})
            if version == 1:
                assert_fields(only(only(answer["Topics"])["Partitions"]), {
                    "ErrorCode": 30, "CommittedOffset": -1, "Metadata": ""})
            else:
                assert_fields(answer, {"ErrorCode": 30, "Topics": []})
            answer = bob.ask("OffsetFetch", version, {"GroupId": "bob-x", "Topics": asked})
        else:
            groups = [{"GroupId": GROUP, "Topics": asked}, {"GroupId": "bob-x", "Topics": asked}]
            both = bob.ask("OffsetFetch", version, {"Groups": groups})["Groups"]
            found = {g["GroupId"]: g for g in both}
            assert_fields(found[GROUP], {"ErrorCode": 30, "Topics": []})
            answer = found["bob-x"]
        assert_fields(only(only(answer["Topics"])["Partitions"]), {
            "ErrorCode": 29, "CommittedOffset": -1})


def test_consumer_group_heartbeat(offered, bob):
    for version in versions(offered, "ConsumerGroupHeartbeat"):
        def beat(group, topics):
            return bob.ask("ConsumerGroupHeartbeat", version, {
                "GroupId": group, "MemberId": str(uuid.uuid4()) if version else "",
                "MemberEpoch": 0, "RebalanceTimeoutMs": 5000, "SubscribedTopicNames": topics,
                "ServerAssignor": None, "TopicPartitions": []})
        denied = {"MemberId": None, "MemberEpoch": 0, "HeartbeatIntervalMs": 0,
                  "Assignment": None}
        assert_fields(beat(GROUP, ["serial-parts"]), denied | {"ErrorCode": 30})
        assert_fields(beat("bob-848", ["serial-parts", FOREIGN]), denied | {"ErrorCode": 29})


def test_group_descriptions(offered, bob):
    for version in versions(offered, "DescribeGroups"):
        answer = bob.ask("DescribeGroups", version, {"Groups": [GROUP]})
        assert_fields(only(answer["Groups"]), {
            "ErrorCode": 30, "GroupId": GROUP, "GroupState": "", "ProtocolType": "",
            "ProtocolData": "", "Members": [], "AuthorizedOperations": NO_OPERATIONS})
    for version in versions(offered, "ConsumerGroupDescribe"):
        answer = bob.ask("ConsumerGroupDescribe", version, {"GroupIds": [GROUP]})
        assert_fields(only(answer["Groups"]), {"ErrorCode": 30, "GroupId": GROUP, "Members": []})


def test_group_deletion(offered, bob):
    for version in versions(offered, "DeleteGroups"):
        answer = bob.ask("DeleteGroups", version, {"GroupsNames": [GROUP, "bob-x"]})
        assert [r["ErrorCode"] for r in answer["Results"]] == [30, 30]
    for version in versions(offered, "OffsetDelete"):
        answer = bob.ask("OffsetDelete", version, {"GroupId": GROUP, "Topics": [
            {"Name": "serial-parts", "Partitions": [{"PartitionIndex": 0}]}]})
        assert_fields(answer, {"ErrorCode": 30, "Topics": []})


def test_transactions(offered, bob):
    for version in versions(offered, "InitProducerId"):
        for identity, code in ((TRANSACTION, 53), (None, 31)):
            answer = bob.ask("InitProducerId", version, {"TransactionalId": identity,
                                                         "TransactionTimeoutMs": 10000})
            assert_fields(answer, {"ErrorCode": code, "ProducerId": -1, "ProducerEpoch": -1})
    some = {"ProducerId": 1, "ProducerEpoch": 0}
    for version in versions(offered, "AddPartitionsToTxn"):
        answer = bob.ask("AddPartitionsToTxn", version, {
            "V3AndBelowTransactionalId": TRANSACTION, "V3AndBelowProducerId": 1,
            "V3AndBelowProducerEpoch": 0,
            "V3AndBelowTopics": [{"Name": "serial-parts", "Partitions": [0, 1]}]})
        parts = only(answer["ResultsByTopicV3AndBelow"])["ResultsByPartition"]
        assert [p["PartitionErrorCode"] for p in parts] == [53, 53]
    for version in versions(offered, "AddOffsetsToTxn"):
        answer = bob.ask("AddOffsetsToTxn", version, some | {"TransactionalId": TRANSACTION,
                                                             "GroupId": "bob-x"})
        assert answer["ErrorCode"] == 53
    for version in versions(offered, "EndTxn"):
        answer = bob.ask("EndTxn", version, some | {"TransactionalId": TRANSACTION,
                                                    "Committed": True})
        assert_fields(answer, {"ErrorCode": 53, "ProducerId": -1, "ProducerEpoch": -1})
    for version in versions(offered, "TxnOffsetCommit", high=5):
        answer = bob.ask("TxnOffsetCommit", version, some | {
            "TransactionalId": TRANSACTION, "GroupId": "bob-x",
            "Topics": [{"Name": "serial-parts", "Partitions": [
                {"PartitionIndex": 0, "CommittedOffset": 1, "CommittedMetadata": ""}]}]})
        assert only(only(answer["Topics"])["Partitions"])["ErrorCode"] == 53


def test_a_foreign_topic_in_a_transaction_stops_all_of_it(offered, gate):
    with gate.wire(gate.token("alice")) as alice:
        for version in versions(offered, "AddPartitionsToTxn"):
            answer = alice.ask("AddPartitionsToTxn", version, {
                "V3AndBelowTransactionalId": "alice-1", "V3AndBelowProducerId": 1,
                "V3AndBelowProducerEpoch": 0, "V3AndBelowTopics": [
                    {"Name": "serial-parts", "Partitions": [0]},
                    {"Name": FOREIGN, "Partitions": [0]}]})
            found = {t["Name"]: t["ResultsByPartition"][0]["PartitionErrorCode"]
                     for t in answer["ResultsByTopicV3AndBelow"]}
            assert found == {"serial-parts": 55, FOREIGN: 29}


# A batch of one record, value "x", made once and never looked into by the gate.
BATCH = bytes.fromhex("0000000000000000000000390000000002" "00000000" "000000000000"
                      "000000000000000000000000000000ffffffffffffffffffffffffffff00000001"
                      "0e00000001027800")


def test_produce(offered, bob):
    for version in versions(offered, "Produce", low=3, high=12):
        answer = bob.ask("Produce", version, {
            "TransactionalId": None, "Acks": 1, "TimeoutMs": 1000,
            "TopicData": [{"Name": name, "PartitionData": [{"Index": 0, "Records": BATCH}]}
                          for name in ("serial-parts", FOREIGN)]})
        assert len(answer["Responses"]) == 2
        for topic in answer["Responses"]:
            assert_fields(only(topic["PartitionResponses"]), {
                "Index": 0, "ErrorCode": 29, "BaseOffset": -1, "LogAppendTimeMs": -1,
                "LogStartOffset": -1, "RecordErrors": [], "ErrorMessage": None})


def test_produce_without_acks_is_closed(offered, gate):
    with gate.wire(gate.token("bob")) as connection:
        connection.post("Produce", versions(offered, "Produce", low=3)[0], {
            "TransactionalId": None, "Acks": 0, "TimeoutMs": 1000,
            "TopicData": [{"Name": FOREIGN, "PartitionData": [{"Index": 0, "Records": BATCH}]}]})
        assert connection.wait_closed()[0] == b""


def test_describe_configs(offered, bob):
    for version in versions(offered, "DescribeConfigs", low=1):
        answer = bob.ask("DescribeConfigs", version, {"Resources": [
            {"ResourceType": 2, "ResourceName": "serial-parts", "ConfigurationKeys": None},
            {"ResourceType": 4, "ResourceName": "0", "ConfigurationKeys": None}]})
        topic, broker = sorted(answer["Results"], key=lambda r: r["ResourceType"])
        assert_fields(topic, {"ErrorCode": 29, "ErrorMessage": "Topic authorization failed.",
                              "ResourceName": "serial-parts", "Configs": []})
        assert_fields(broker, {"ErrorCode": 31, "Configs": []})


def test_describe_acls(offered, bob):
    for version in versions(offered, "DescribeAcls", low=1):
        answer = bob.ask("DescribeAcls", version, {
            "ResourceTypeFilter": 1, "ResourceNameFilter": None, "PrincipalFilter": None,
            "HostFilter": None, "Operation": 1, "PermissionType": 1})
        assert_fields(answer, {"ErrorCode": 54, "Resources": []})


def test_describe_cluster(offered, gate, bob):
    for version in versions(offered, "DescribeCluster"):
        answer = bob.ask("DescribeCluster", version, {"IncludeClusterAuthorizedOperations": True})
        assert_fields(answer, {"ErrorCode": 0, "ClusterAuthorizedOperations": 0})
        assert_fields(only(answer["Brokers"]), {"BrokerId": 0, "Host": gate.host,
                                                "Port": gate.advertised_port, "Rack": None})


def test_repeated_denials_are_paced(make_gate, serial_parts):
    """A client that asks again at once is held back, and told so; others are not."""
    gate = make_gate("paced", tapped=False, grants=GRANTS,
                     config={"limits": {"denial_pace_ms": 200}})
    with gate.wire(gate.token("bob")) as hot, gate.wire(gate.token("bob")) as calm:
        start = time.monotonic()
        throttled = [hot.ask("InitProducerId", 1, {"TransactionalId": None,
                                                   "TransactionTimeoutMs": 1})["ThrottleTimeMs"]
                     for _ in range(20)]
        took = time.monotonic() - start
        before = time.monotonic()
        calm.ask("Metadata", 9, {"Topics": [{"Name": "serial-parts"}]})
        assert time.monotonic() - before < 0.5
        assert took > 1, f"20 denials within {took:.3f} s"
        assert max(throttled) > 0
