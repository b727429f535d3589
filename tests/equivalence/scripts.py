"""What both are asked. A script takes (side, offered) and goes through all versions of its APIs.
Names: granted and there, foreign, granted and absent, neither granted nor there, internal; alone and
mixed. Ids likewise."""

import side as sides

NAMES = {
    "granted": ["parts"], "foreign": ["other-parts"], "absent": ["parts-absent"],
    "nowhere": ["no-such-parts"], "internal": ["__consumer_offsets"],
    "case": ["PARTS"], "longer": ["parts-"], "illegal": ["no such/name"], "empty": [""],
    "mixed": ["parts", "other-parts", "parts-absent", "no-such-parts", "__consumer_offsets",
              "parts-two"],
}
IDS = {"granted": ["parts"], "foreign": ["other-parts"], "unknown": ["unknown"],
       "zero": ["zero"], "mixed": ["other-parts", "parts", "unknown", "parts-two"]}
GROUPS = {"own": "{}-never-used", "foreign": "mallory-1", "case": "{u}-1", "shorter": "{s}",
          "empty": ""}


def group(side, kind):
    name = side.subject
    return GROUPS[kind].format(name, u=name.upper(), s=name[:-1])


def each(offered, api, low=0, high=99):
    return [v for v in offered[api] if low <= v <= high]


# --- what is there

def api_versions(side, offered):
    for v in each(offered, "ApiVersions"):
        side.ask("ApiVersions", v, {"ClientSoftwareName": "e2e", "ClientSoftwareVersion": "1"})
    side.ask("ApiVersions", 3, {"ClientSoftwareName": "", "ClientSoftwareVersion": "no way!"},
             "illegal")


def login_again(side, offered):
    """SaslHandshake and SaslAuthenticate where they do not belong, in an open session."""
    for v in each(offered, "SaslHandshake"):
        side.ask("SaslHandshake", v, {"Mechanism": "NONESUCH"}, "a mechanism that is not there")
        side.end()
    for v in each(offered, "SaslAuthenticate"):
        side.ask("SaslAuthenticate", v, {"AuthBytes": b"x"}, "without a handshake")
        side.end()


def metadata(side, offered):
    for v in each(offered, "Metadata"):
        flags = {"AllowAutoTopicCreation": True, "IncludeTopicAuthorizedOperations": True,
                 "IncludeClusterAuthorizedOperations": True}
        for note, names in NAMES.items():
            side.ask("Metadata", v, flags | {"Topics": [{"Name": n} for n in names]}, note)
        side.ask("Metadata", v, {"Topics": [{"Name": "parts"}], "AllowAutoTopicCreation": False},
                 "no flags")
        side.ask("Metadata", v, {"Topics": []}, "none")
        if v >= 1:
            side.ask("Metadata", v, flags | {"Topics": None}, "all")
        if v >= 12:
            for note, names in IDS.items():
                side.ask("Metadata", v, flags | {"Topics": [
                    {"TopicId": side.identity(n), "Name": None} for n in names]}, f"id {note}")


def describe_topics(side, offered):
    for v in each(offered, "DescribeTopicPartitions"):
        for note, names in NAMES.items():
            side.ask("DescribeTopicPartitions", v, {"Topics": [{"Name": n} for n in names]}, note)
        side.ask("DescribeTopicPartitions", v, {"Topics": []}, "all")
        for limit in (1, 2, 4):
            side.ask("DescribeTopicPartitions", v, {
                "Topics": [], "ResponsePartitionLimit": limit}, f"all, {limit}")
            for topic, partition in (("parts", 0), ("parts", 2), ("parts-two", 1),
                                     ("other-parts", 1), ("no-such-parts", 0), ("parts", -1)):
                for some in ([], ["parts", "parts-two"], ["parts", "other-parts"]):
                    side.ask("DescribeTopicPartitions", v, {
                        "Topics": [{"Name": n} for n in some], "ResponsePartitionLimit": limit,
                        "Cursor": {"TopicName": topic, "PartitionIndex": partition}},
                        f"{len(some)} from {topic} {partition}, {limit}")


def describe_cluster(side, offered):
    for v in each(offered, "DescribeCluster"):
        for flag in (False, True):
            side.ask("DescribeCluster", v, {"IncludeClusterAuthorizedOperations": flag},
                     f"operations {flag}")
        if v >= 1:
            side.ask("DescribeCluster", v, {"EndpointType": 2}, "controllers")
            side.ask("DescribeCluster", v, {"EndpointType": 7}, "no such type")


def find_coordinator(side, offered):
    for v in each(offered, "FindCoordinator"):
        for kind in (0, 1, 2, 9):
            keys = [group(side, which) for which in GROUPS] + ["bob-1:AAAA:0"]
            if v < 4:
                for note, key in zip([*GROUPS, "share"], keys):
                    if v > 0 or kind == 0:
                        side.ask("FindCoordinator", v, {"Key": key, "KeyType": kind},
                                 f"type {kind} {note}")
                continue
            for note, key in zip([*GROUPS, "share"], keys):
                side.ask("FindCoordinator", v, {"KeyType": kind, "CoordinatorKeys": [key]},
                         f"type {kind} {note}")
            side.ask("FindCoordinator", v, {"KeyType": kind, "CoordinatorKeys": keys},
                     f"type {kind} mixed")
            side.ask("FindCoordinator", v, {"KeyType": kind, "CoordinatorKeys": []},
                     f"type {kind} none")


def describe_configs(side, offered):
    for v in each(offered, "DescribeConfigs"):
        for note, names in NAMES.items():
            for keys in (["cleanup.policy", "retention.ms"], []):
                side.ask("DescribeConfigs", v, {"Resources": [
                    {"ResourceType": 2, "ResourceName": n, "ConfigurationKeys": keys}
                    for n in names], "IncludeSynonyms": True, "IncludeDocumentation": True},
                    f"{note} {len(keys)}")
        for kind, name in ((4, "0"), (4, ""), (8, "0"), (16, "metrics"), (32, group(side, "own")),
                           (32, "mallory-1"), (0, "x")):
            side.ask("DescribeConfigs", v, {"Resources": [
                {"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": None}]},
                f"resource {kind} {name}")
        side.ask("DescribeConfigs", v, {"Resources": []}, "none")


def describe_acls(side, offered):
    for v in each(offered, "DescribeAcls"):
        side.ask("DescribeAcls", v, {
            "ResourceTypeFilter": 1, "ResourceNameFilter": None, "PrincipalFilter": None,
            "HostFilter": None, "Operation": 1, "PermissionType": 1})


# --- reading

def list_offsets(side, offered):
    for v in each(offered, "ListOffsets"):
        for note, names in NAMES.items():
            for stamp in (-1, -2, -3, -4, -5, 1_750_000_000_002, 1 << 60):
                side.ask("ListOffsets", v, {"ReplicaId": -1, "Topics": [
                    {"Name": n, "Partitions": [{"PartitionIndex": p, "Timestamp": stamp}
                                               for p in (0, 2, 7)]} for n in names]},
                         f"{note} at {stamp}")
        for isolation, epoch in ((0, 0), (1, 0), (0, 5)):
            side.ask("ListOffsets", v, {"ReplicaId": -1, "IsolationLevel": isolation, "Topics": [
                {"Name": "parts", "Partitions": [
                    {"PartitionIndex": 0, "CurrentLeaderEpoch": epoch, "Timestamp": -1}]}]},
                f"epoch {epoch}, isolation {isolation}")
        side.ask("ListOffsets", v, {"ReplicaId": -1, "Topics": [
            {"Name": "parts", "Partitions": [{"PartitionIndex": 0, "Timestamp": -1},
                                             {"PartitionIndex": 0, "Timestamp": -2}]}]}, "twice")
        side.ask("ListOffsets", v, {"ReplicaId": -1, "Topics": []}, "none")


def leader_epochs(side, offered):
    for v in each(offered, "OffsetForLeaderEpoch"):
        for note, names in NAMES.items():
            for epoch in (0, 4, -1):
                side.ask("OffsetForLeaderEpoch", v, {"ReplicaId": -1, "Topics": [
                    {"Topic": n, "Partitions": [
                        {"Partition": p, "LeaderEpoch": epoch, "CurrentLeaderEpoch": -1}
                        for p in (0, 1, 7)]} for n in names]}, f"{note}, {epoch}")
        side.ask("OffsetForLeaderEpoch", v, {"ReplicaId": -1, "Topics": [
            {"Topic": "parts", "Partitions": [
                {"Partition": 0, "LeaderEpoch": 0, "CurrentLeaderEpoch": 9}]}]}, "a later epoch")


def fetch_body(topics, offset=0, partitions=(0,), **more):
    return {"ReplicaId": -1, "MaxWaitMs": 50, "MinBytes": 0, "MaxBytes": 1 << 20, "SessionId": 0,
            "SessionEpoch": -1, "Topics": [topic | {"Partitions": [
                {"Partition": p, "FetchOffset": offset, "PartitionMaxBytes": 1 << 20}
                for p in partitions]} for topic in topics]} | more


def complete(side, answer, offset):
    """Whether all leaders have answered: the gate gives an error, and what some of them have, at
    once, and the others' with the next Fetch."""
    there = (None, "parts", "parts-two")
    return all(
        part["ErrorCode"] or 0 <= part["HighWatermark"] <= offset and offset < 90
        or part["Records"] for topic in answer["Responses"] if topic.get("Topic") in there
        for part in topic["Partitions"])


def fetch(side, offered):
    for v in each(offered, "Fetch"):
        table = NAMES if v < 13 else IDS
        for note, names in table.items():
            topics = [{"Topic": n} if v < 13 else {"TopicId": side.identity(n)} for n in names]
            for offset in (0, 3, 5, 99):
                side.until(lambda a: complete(side, a, offset), "Fetch", v,
                           fetch_body(topics, offset), f"{note} from {offset}")
        topics = [{"Topic": "parts"} if v < 13 else {"TopicId": side.identity("parts")}]
        side.ask("Fetch", v, fetch_body(topics, partitions=(7,)), "no such partition")
        side.ask("Fetch", v, fetch_body(topics, IsolationLevel=1), "committed")
        side.ask("Fetch", v, fetch_body([]), "none")
        if v >= 7:
            side.ask("Fetch", v, fetch_body(topics, SessionEpoch=0), "opens a session")
            side.ask("Fetch", v, fetch_body(topics, SessionId=77, SessionEpoch=3),
                     "a session that is not there")
            side.ask("Fetch", v, fetch_body([], SessionId=77, SessionEpoch=-1), "its end")
        if v < 15:
            side.ask("Fetch", v, fetch_body(topics, ReplicaId=1), "as replica")
        else:
            side.ask("Fetch", v, fetch_body(topics, ReplicaState={
                "ReplicaId": 1, "ReplicaEpoch": 1}), "as replica")
        if v >= 9:
            body = fetch_body(topics)
            body["Topics"][0]["Partitions"][0]["CurrentLeaderEpoch"] = 9
            side.ask("Fetch", v, body, "a later epoch")
        read = []
        for partition in range(3):
            answer = side.ask("Fetch", v, fetch_body(topics, partitions=(partition,)), quiet=True)
            read += [p["Records"] for t in answer["Responses"] for p in t["Partitions"]]
        side.record(f"Fetch v{v} all", side.normal(read, "Records"))


def made_anew(side, offered):
    """A topic that is deleted and created anew between the look-up of its id and the Fetch."""
    topic = {"TopicId": side.identity("parts-anew")}
    side.ask("Fetch", 13, fetch_body([topic]), "before")
    side.make_anew("parts-anew", "parts-before")
    side.write("parts-anew", 0, sides.batch([f"anew for {side.subject}".encode()]))
    old, new = ({"TopicId": side.identity(name)} for name in ("parts-before", "parts-anew"))
    for v in each(offered, "Fetch", 13):
        side.until(lambda a: a["Responses"][0]["Partitions"][0]["ErrorCode"] == 0, "Fetch", v,
                   fetch_body([new]), "by the new id")
        side.ask("Fetch", v, fetch_body([old]), "by the former id")
        side.ask("Fetch", v, fetch_body([old, new]), "by both")
    side.ask("Fetch", 12, fetch_body([{"Topic": "parts-anew"}]), "by its name")
    for v in each(offered, "Metadata", 12):
        for identity in (old, new):
            side.ask("Metadata", v, {"Topics": [identity | {"Name": None}]},
                     f"{side.normal(identity['TopicId'])}")
    for v in each(offered, "Produce", 13):
        side.ask("Produce", v, sides.produce_body(
            [("parts-before", 0, sides.batch([b"late"]))], ids=side.identity), "by the former id")
    for v in each(offered, "OffsetCommit", 10):
        side.ask("OffsetCommit", v, _commit(["parts-before"], f"{side.subject}-late", v, side),
                 "by the former id")


# --- groups

def _commit(topics, group_id, v, side, offset=7):
    return {"GroupId": group_id, "GenerationIdOrMemberEpoch": -1, "MemberId": "",
            "Topics": [({"Name": n} if v < 10 else {"TopicId": side.identity(n)}) | {
                "Partitions": [{"PartitionIndex": p, "CommittedOffset": offset + p,
                                "CommittedLeaderEpoch": 0, "CommittedMetadata": f"m{v}"}
                               for p in (0, 1, 7)]} for n in topics]}


def _positions(topics, group_id, v, side, stable=False):
    asked = None if topics is None else [
        ({"Name": n} if v < 10 else {"TopicId": side.identity(n)}) | {"PartitionIndexes": [0, 1, 7]}
        for n in topics]
    if v < 8:
        return {"GroupId": group_id, "Topics": asked, "RequireStable": stable}
    return {"Groups": [{"GroupId": group_id, "Topics": asked}], "RequireStable": stable}


def offsets(side, offered):
    for v in each(offered, "OffsetCommit"):
        own = f"{side.subject}-offsets-{v}"
        table = NAMES if v < 10 else IDS
        for note, names in table.items():
            side.ask("OffsetCommit", v, _commit(names, own, v, side), note)
        for kind in GROUPS:
            side.ask("OffsetCommit", v, _commit(["parts"], group(side, kind) + f"{v}"
                                                if kind != "empty" else "", v, side),
                     f"group {kind}")
        side.ask("OffsetCommit", v, _commit([], own, v, side), "none")
        side.ask("OffsetCommit", v, _commit(["parts"], own, v, side)
                 | {"GenerationIdOrMemberEpoch": 3, "MemberId": "nobody"}, "no such member")
    for v in each(offered, "OffsetFetch"):
        table = NAMES if v < 10 else IDS
        own = f"{side.subject}-offsets-9"
        for note, names in table.items():
            side.ask("OffsetFetch", v, _positions(names, own, v, side), note)
        for kind in GROUPS:
            side.ask("OffsetFetch", v, _positions(["parts"], group(side, kind), v, side),
                     f"group {kind}")
        if v >= 2:
            side.ask("OffsetFetch", v, _positions(None, own, v, side, True), "all")
            side.ask("OffsetFetch", v, _positions(None, group(side, "foreign"), v, side),
                     "all of a foreign group")
        side.ask("OffsetFetch", v, _positions([], own, v, side), "none")
        if v >= 8:
            both = _positions(["parts"], own, v, side)["Groups"] \
                + _positions(["parts"], "mallory-1", v, side)["Groups"] \
                + _positions(None, f"{side.subject}-offsets-5", v, side)["Groups"]
            side.ask("OffsetFetch", v, {"Groups": both}, "groups mixed")
            side.ask("OffsetFetch", v, {"Groups": []}, "no groups")


_METADATA = b"\0\1\0\0\0\1\0\5parts\0\0\0\0\0\0\0\0"


def _join(group_id, member, v, **more):
    return {"GroupId": group_id, "SessionTimeoutMs": 20000, "RebalanceTimeoutMs": 20000,
            "MemberId": member, "ProtocolType": "consumer",
            "Protocols": [{"Name": "range", "Metadata": _METADATA}]} | more


def classic_group(side, offered):
    """A member's life from JoinGroup to LeaveGroup, then its group's end."""
    def at(api):
        return min(v, each(offered, api)[-1])
    for v in each(offered, "JoinGroup"):
        own = f"{side.subject}-classic-{v}"
        for kind in ("foreign", "case", "shorter", "empty"):
            side.ask("JoinGroup", v, _join(group(side, kind), "", v), f"group {kind}")
        side.ask("JoinGroup", v, _join(own, "", v, SessionTimeoutMs=1), "too short")
        side.ask("JoinGroup", v, _join(own, "nobody", v), "no such member")
        joined = side.ask("JoinGroup", v, _join(own, "", v), "first")
        if joined["ErrorCode"] == 79:  # join again under the id that was given
            joined = side.ask("JoinGroup", v, _join(own, joined["MemberId"], v), "again")
        member, generation = joined["MemberId"], joined["GenerationId"]
        who = {"GroupId": own, "GenerationId": generation, "MemberId": member}
        sync = {"ProtocolType": "consumer", "ProtocolName": "range", "Assignments": [
            {"MemberId": member, "Assignment": b"\0\1\0\0\0\0\0\0\0\0"}]}
        side.ask("SyncGroup", at("SyncGroup"), who | sync | {"MemberId": "nobody"}, "nobody")
        side.ask("SyncGroup", at("SyncGroup"), who | sync | {"GroupId": "mallory-1"}, "foreign")
        if at("SyncGroup") >= 5:
            side.ask("SyncGroup", at("SyncGroup"), who | sync | {
                "GroupId": "mallory-1", "ProtocolType": None, "ProtocolName": None},
                "foreign, no protocol")
            side.ask("SyncGroup", at("SyncGroup"), who | sync | {"ProtocolName": "roundrobin"},
                     "another protocol")
        side.ask("SyncGroup", at("SyncGroup"), who | sync, "own")
        for note, more in (("own", {}), ("foreign", {"GroupId": "mallory-1"}),
                           ("nobody", {"MemberId": "nobody"}), ("late", {"GenerationId": 99}),
                           ("absent", {"GroupId": group(side, "own")})):
            side.ask("Heartbeat", at("Heartbeat"), who | more, note)
        commit = max(2, at("OffsetCommit"))
        side.ask("OffsetCommit", commit, _commit(["parts"], own, commit, side)
                 | {"GenerationIdOrMemberEpoch": generation, "MemberId": member}, "as a member")
        side.ask("OffsetCommit", commit, _commit(["parts"], own, commit, side)
                 | {"GenerationIdOrMemberEpoch": generation + 1, "MemberId": member}, "too late")
        groups_described(side, offered, at("DescribeGroups"), own)
        side.ask("DeleteGroups", at("DeleteGroups"), {"GroupsNames": [own]}, "with a member")
        leave = at("LeaveGroup")
        gone = {"MemberId": member} if leave < 3 else {"Members": [{"MemberId": member}]}
        side.ask("LeaveGroup", leave, gone | {"GroupId": "mallory-1"}, "foreign")
        side.ask("LeaveGroup", leave, {"GroupId": own} | (
            {"MemberId": "nobody"} if leave < 3 else {"Members": [{"MemberId": "nobody"}]}),
            "nobody")
        side.ask("LeaveGroup", leave, gone | {"GroupId": own}, "own")
        groups_described(side, offered, at("DescribeGroups"), own)


def groups_described(side, offered, v, own):
    for flag in (False, True):
        side.ask("DescribeGroups", v, {"Groups": [own], "IncludeAuthorizedOperations": flag},
                 f"own {flag}")
    side.ask("DescribeGroups", v, {"Groups": [own, "mallory-1", group(side, "own"), ""],
                                   "IncludeAuthorizedOperations": True}, "mixed")


def static_member(side, offered):
    """A member with an instance id, and another that takes its place."""
    for v in each(offered, "JoinGroup", 5):
        own, who = f"{side.subject}-static-{v}", {"GroupInstanceId": "instance-one"}
        joined = side.ask("JoinGroup", v, _join(own, "", v, **who), "first")
        again = side.ask("JoinGroup", v, _join(own, "", v, **who), "once more")
        sync = min(v, each(offered, "SyncGroup")[-1])
        for member in (joined["MemberId"], again["MemberId"]):
            side.ask("SyncGroup", sync, who | {
                "GroupId": own, "GenerationId": again["GenerationId"], "MemberId": member,
                "ProtocolType": "consumer", "ProtocolName": "range", "Assignments": []}, "sync")
        side.ask("LeaveGroup", 4, {"GroupId": own, "Members": [
            who | {"MemberId": ""}]}, "by instance")


def consumer_group(side, offered):
    """KIP-848: a member's life, and everything that it may name."""
    for v in each(offered, "ConsumerGroupHeartbeat"):
        own = f"{side.subject}-848-{v}"

        def beat(note, group_id=own, topics=("parts",), member=f"member-{v}", epoch=0, **more):
            body = {"GroupId": group_id, "MemberId": member if v > 0 or epoch else "",
                    "MemberEpoch": epoch, "RebalanceTimeoutMs": 5000, "ServerAssignor": None,
                    "SubscribedTopicNames": None if topics is None else list(topics),
                    "TopicPartitions": []} | more
            return side.ask("ConsumerGroupHeartbeat", v, body, note)
        for kind in ("foreign", "case", "shorter", "empty"):
            beat(f"group {kind}", group(side, kind))
        for note, names in NAMES.items():
            if note not in ("granted", "absent"):
                beat(f"topics {note}", topics=names)
        beat("no such member", epoch=4)
        if v >= 1:
            beat("a pattern that is none", topics=None, SubscribedTopicRegex="par(ts")
        joined = beat("joins")
        if joined["ErrorCode"]:
            continue
        member = joined["MemberId"] or f"member-{v}"
        epoch = joined["MemberEpoch"]
        side.until(lambda a: a["Assignment"] and a["Assignment"]["TopicPartitions"],
                   "ConsumerGroupHeartbeat", v, {
                       "GroupId": own, "MemberId": member, "MemberEpoch": 0,
                       "RebalanceTimeoutMs": 5000, "ServerAssignor": None,
                       "SubscribedTopicNames": ["parts"], "TopicPartitions": []}, "assigned")
        beat("too far ahead", member=member, epoch=epoch + 50)
        consumer_group_described(side, offered, own)
        for commit in each(offered, "OffsetCommit", 9):
            side.ask("OffsetCommit", commit, _commit(["parts"], own, commit, side)
                     | {"GenerationIdOrMemberEpoch": epoch, "MemberId": member}, "as a member")
        for positions in each(offered, "OffsetFetch", 9):
            body = _positions(["parts"], own, positions, side)
            for number in (epoch, epoch + 50):
                body["Groups"][0] |= {"MemberId": member, "MemberEpoch": number}
                side.ask("OffsetFetch", positions, body, f"as a member {number - epoch}")
        side.ask("DeleteGroups", each(offered, "DeleteGroups")[-1], {"GroupsNames": [own]},
                 "with a member")
        side.ask("DescribeGroups", each(offered, "DescribeGroups")[-1], {"Groups": [own]},
                 "the newer kind")
        beat("leaves", member=member, epoch=-1, topics=None)
        consumer_group_described(side, offered, own)


def consumer_group_described(side, offered, own):
    for v in each(offered, "ConsumerGroupDescribe"):
        for flag in (False, True):
            side.ask("ConsumerGroupDescribe", v, {"GroupIds": [own],
                                                  "IncludeAuthorizedOperations": flag},
                     f"own {flag}")
        side.ask("ConsumerGroupDescribe", v, {
            "GroupIds": [own, "mallory-1", group(side, "own"), ""],
            "IncludeAuthorizedOperations": True}, "mixed")


def patterns(side, offered):
    """A subscription by pattern gets the granted topics that match, whatever else does."""
    for v in each(offered, "ConsumerGroupHeartbeat", 1):
        for index, pattern in enumerate((".*", "parts.*", "other.*", "__.*", "parts")):
            own = f"{side.subject}-pattern-{v}-{index}"
            body = {"GroupId": own, "MemberId": "reader", "MemberEpoch": 0,
                    "RebalanceTimeoutMs": 5000, "ServerAssignor": None,
                    "SubscribedTopicNames": None, "SubscribedTopicRegex": pattern,
                    "TopicPartitions": []}
            side.ask("ConsumerGroupHeartbeat", v, body, pattern, quiet=True)
            wanted = {".*": 4, "parts.*": 4, "parts": 1}.get(pattern, 0)
            found = []

            def settled(answer):
                found[:] = [t["TopicId"] for t in (answer["Assignment"] or {}).get(
                    "TopicPartitions", [])]
                return len(found) >= wanted and answer["Assignment"] is not None
            side.until(settled, "ConsumerGroupHeartbeat", v, body, pattern)
            side.ask("ConsumerGroupHeartbeat", v, body | {
                "MemberEpoch": -1, "SubscribedTopicRegex": None}, f"{pattern} leaves")


def list_groups(side, offered):
    for v in each(offered, "ListGroups"):
        answer = side.ask("ListGroups", v, {}, quiet=True)
        rows = sorted((g for g in answer["Groups"]), key=lambda g: g["GroupId"])
        side.record(f"ListGroups v{v} all", side.normal(answer | {"Groups": rows}))
        if v >= 4:
            answer = side.ask("ListGroups", v, {"StatesFilter": ["Empty"]}, quiet=True)
            side.record(f"ListGroups v{v} empty",
                        sorted(g["GroupId"] for g in answer["Groups"]))
        if v >= 5:
            answer = side.ask("ListGroups", v, {"TypesFilter": ["consumer"]}, quiet=True)
            side.record(f"ListGroups v{v} consumer",
                        sorted(g["GroupId"] for g in answer["Groups"]))


def deletions(side, offered):
    for v in each(offered, "OffsetDelete"):
        own = f"{side.subject}-offsets-8"
        for note, names in NAMES.items():
            side.ask("OffsetDelete", v, {"GroupId": own, "Topics": [
                {"Name": n, "Partitions": [{"PartitionIndex": p} for p in (0, 7)]}
                for n in names]}, note)
        for kind in GROUPS:
            side.ask("OffsetDelete", v, {"GroupId": group(side, kind), "Topics": [
                {"Name": "parts", "Partitions": [{"PartitionIndex": 0}]}]}, f"group {kind}")
        side.ask("OffsetDelete", v, {"GroupId": own, "Topics": []}, "none")
    for v in each(offered, "DeleteGroups"):
        own = f"{side.subject}-offsets-{v + 2}"
        side.ask("DeleteGroups", v, {"GroupsNames": [own]}, "own")
        side.ask("DeleteGroups", v, {"GroupsNames": [own, "mallory-1", group(side, "own"), ""]},
                 "mixed")
        side.ask("DeleteGroups", v, {"GroupsNames": []}, "none")


# --- writing

def produce(side, offered):
    def one(value):
        return sides.batch([value.encode()])
    for v in each(offered, "Produce"):
        table = NAMES if v < 13 else IDS
        ids = side.identity if v >= 13 else None
        for acks in (-1, 1):
            for note, names in table.items():
                side.ask("Produce", v, sides.produce_body(
                    [(n, 1, one(f"{side.subject} {v} {note} {acks}")) for n in names], acks,
                    ids=ids), f"{note} acks {acks}")
        side.ask("Produce", v, sides.produce_body(
            [("parts", p, one(f"{side.subject} {v}")) for p in (0, 1, 2, 7)], ids=ids),
            "several leaders")
        side.ask("Produce", v, sides.produce_body([("parts", 0, sides.broken_batch())], ids=ids),
                 "not a batch")
        if side.subject != "alice":  # a broker that lets it in never answers
            side.ask("Produce", v, sides.produce_body([("parts", 0, None)], ids=ids),
                     "null records")
        side.ask("Produce", v, sides.produce_body([("parts", 0, one("x"))], 7, ids=ids), "acks 7")
        side.ask("Produce", v, sides.produce_body([], ids=ids), "none")
        for kind in ("foreign", "own"):
            side.ask("Produce", v, sides.produce_body(
                [("parts", 2, sides.batch([b"t"], producer=(4711, 0, 0), transactional=True))],
                transactional_id=group(side, kind), ids=ids), f"transaction {kind}")
        side.ask("Produce", v, sides.produce_body(
            [("parts", 2, sides.batch([b"t"], producer=(4711, 0, 0), transactional=True))],
            ids=ids), "transactional without id")


def produce_silently(side, offered):
    """Without acknowledgement: an answer never comes, the connection's end is a no."""
    for v in each(offered, "Produce"):
        ids = side.identity if v >= 13 else None
        for names in (["parts-silent"], ["other-parts"], ["parts-silent", "other-parts"],
                      ["parts-silent", "unknown"]):
            side.post_closed("Produce", v, sides.produce_body(
                [(n, len(names) - 1, sides.batch([f"{side.subject} {v} {names[1:]}".encode()]))
                 for n in names], 0, ids=ids), f"{'+'.join(names)} acks 0")


def idempotent(side, offered):
    """Sequence numbers: accepted, told again, out of order, of an older epoch."""
    for v in each(offered, "InitProducerId"):
        # A broker without ids at hand asks the controller for some, and says 14 meanwhile.
        some = side.until(lambda a: a["ErrorCode"] not in (7, 14, 15), "InitProducerId", v, {
            "TransactionalId": None, "TransactionTimeoutMs": 60000}, "no transaction")
        if some["ErrorCode"]:
            continue
        number, epoch = some["ProducerId"], some["ProducerEpoch"]
        for w in {3, 8, each(offered, "Produce")[-1]}:
            ids = side.identity if w >= 13 else None
            for note, sequence in (("first", 0), ("again", 0), ("a gap", 9)):
                side.ask("Produce", w, sides.produce_body([("parts-two", w % 3, sides.batch(
                    [b"i"], producer=(number, epoch, sequence)))], ids=ids), f"idempotent {note}")


def transactions(side, offered):
    """Transactions of both kinds, one a version, some ended and some left open."""
    for v in each(offered, "InitProducerId"):
        for kind in ("foreign", "case", "shorter", "empty"):
            side.ask("InitProducerId", v, {"TransactionalId": group(side, kind),
                                           "TransactionTimeoutMs": 60000}, kind)
    some = {"ProducerId": 4711, "ProducerEpoch": 0}
    for api, more in (("AddOffsetsToTxn", {"GroupId": f"{side.subject}-t"}),
                      ("EndTxn", {"Committed": True})):
        for v in each(offered, api):
            for kind in ("foreign", "empty", "own"):
                side.ask(api, v, some | more | {"TransactionalId": group(side, kind)}, kind)
    for v in each(offered, "AddPartitionsToTxn"):
        for kind in ("foreign", "own"):
            for note, names in NAMES.items():
                side.ask("AddPartitionsToTxn", v, {
                    "V3AndBelowTransactionalId": group(side, kind), "V3AndBelowProducerId": 4711,
                    "V3AndBelowProducerEpoch": 0, "V3AndBelowTopics": [
                        {"Name": n, "Partitions": [0, 7]} for n in names]}, f"{kind} {note}")
    for v in each(offered, "TxnOffsetCommit"):
        table = NAMES if v < 6 else IDS
        for txn, of in (("foreign", "own"), ("own", "foreign"), ("own", "own")):
            for note, names in table.items():
                side.ask("TxnOffsetCommit", v, some | {
                    "TransactionalId": group(side, txn), "GroupId": group(side, of),
                    "Topics": _commit(names, "", 10 if v >= 6 else v, side)["Topics"]},
                    f"{txn} {of} {note}")
    for turn, v in enumerate(each(offered, "InitProducerId")):
        transaction(side, offered, turn, v)


def transaction(side, offered, turn, v):
    """InitProducerId, AddPartitionsToTxn, Produce, AddOffsetsToTxn, TxnOffsetCommit, EndTxn."""
    def at(api, high):
        versions = each(offered, api, 0, high)
        return versions[min(turn, len(versions) - 1)]
    own, reader = f"{side.subject}-txn-{turn}", f"{side.subject}-txn-group-{turn}"
    begun = side.until(lambda a: a["ErrorCode"] not in (14, 15, 16, 51), "InitProducerId", v, {
        "TransactionalId": own, "TransactionTimeoutMs": 60000}, "own")
    if begun["ErrorCode"]:
        return
    who = {"ProducerId": begun["ProducerId"], "ProducerEpoch": begun["ProducerEpoch"]}
    both = {"TransactionalId": own} | who
    first = {"V3AndBelowTransactionalId": own, "V3AndBelowProducerId": who["ProducerId"],
             "V3AndBelowProducerEpoch": who["ProducerEpoch"]}
    adding = at("AddPartitionsToTxn", 3)
    for names in (["parts-two", "other-parts"], ["parts-two", "parts-absent"], ["parts-two"]):
        side.until(lambda a: all(p["PartitionErrorCode"] != 51 for t in
                                 a["ResultsByTopicV3AndBelow"] for p in t["ResultsByPartition"]),
                   "AddPartitionsToTxn", adding, first | {"V3AndBelowTopics": [
                       {"Name": n, "Partitions": [0, 1, 2]} for n in names]}, str(names))
    data = sides.batch([f"in {own}".encode()], producer=(*who.values(), 0), transactional=True)
    for topic in ("other-parts", "parts-two"):
        side.ask("Produce", min(3 + 2 * turn, 11), sides.produce_body([(topic, 0, data), (topic, 2, data)],
                                                     transactional_id=own), "in a transaction")
    for group_id in ("mallory-1", reader):
        side.ask("AddOffsetsToTxn", at("AddOffsetsToTxn", 4), both | {"GroupId": group_id},
                 f"in it, group {group_id == reader}")
    commit = at("TxnOffsetCommit", 4)
    for group_id in ("mallory-1", reader):
        side.until(lambda a: a["Topics"][0]["Partitions"][0]["ErrorCode"] not in (14, 15, 16),
                   "TxnOffsetCommit", commit, both | {
                       "GroupId": group_id, "Topics": _commit(
                           ["parts", "other-parts"], "", commit, side)["Topics"]},
                   f"in it, group {group_id == reader}")
    if v < 5:  # the last one stays open
        side.ask("EndTxn", at("EndTxn", 4), both | {"Committed": turn % 2 == 0}, "ends it")
        side.wait_ended(own)
        side.ask("EndTxn", at("EndTxn", 4), both | {"Committed": turn % 2 == 1},
                 "ends it otherwise")
    side.ask("EndTxn", 3, both | {"ProducerEpoch": who["ProducerEpoch"] - 1, "Committed": True},
             "of an older epoch")


def newer_transaction(side, offered):
    """Transactions whose producer announces nothing (KIP-890): Produce 12 and above, TxnOffsetCommit
    and EndTxn 5."""
    for v in each(offered, "Produce", 12):
        own, reader = f"{side.subject}-txn2-{v}", f"{side.subject}-txn2-group-{v}"
        begun = side.until(lambda a: a["ErrorCode"] not in (14, 15, 16, 51), "InitProducerId", 5, {
            "TransactionalId": own, "TransactionTimeoutMs": 60000}, "own")
        if begun["ErrorCode"]:
            continue
        who = (begun["ProducerId"], begun["ProducerEpoch"])
        both = {"TransactionalId": own, "ProducerId": who[0], "ProducerEpoch": who[1]}
        ids = side.identity if v >= 13 else None
        for topic in ("other-parts", "parts-two"):
            data = sides.batch([f"in {own}".encode()], producer=(*who, 0), transactional=True)
            side.ask("Produce", v, sides.produce_body(
                [(topic, 0, data), (topic, 1, data)], transactional_id=own, ids=ids), "in it")
        for commit in each(offered, "TxnOffsetCommit", 5):
            for group_id in ("mallory-1", reader):
                names = ["parts", "other-parts"]
                side.until(lambda a: a["Topics"][0]["Partitions"][0]["ErrorCode"] not in (14, 15),
                           "TxnOffsetCommit", commit, both | {
                               "GroupId": group_id, "Topics": _commit(
                                   names, "", 10 if commit >= 6 else 9, side)["Topics"]},
                           f"in it, group {group_id == reader}")
        ended = side.ask("EndTxn", 5, both | {"Committed": True}, "ends it")
        side.wait_ended(own)
        side.ask("EndTxn", 5, both | {"ProducerEpoch": ended["ProducerEpoch"],
                                      "Committed": False}, "ends it once more")
