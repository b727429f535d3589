"""What the requests did, asked straight at the brokers with Kafka's own kinds of clients: topics,
records, groups with members and positions, transactions."""

import confluent_kafka


def topics(side):
    """Partitions of every topic that clients could have made."""
    return {name: len(topic.partitions) for name, topic in
            side.cluster.admin.list_topics(timeout=10).topics.items()
            if not name.startswith("__")}


def records(side, isolation):
    """Everything that is readable, offset by offset."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": ",".join(side.cluster.bootstrap()), "group.id": "looks-only",
        "enable.auto.commit": False, "isolation.level": isolation, "enable.partition.eof": True,
        "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20})
    parts = [confluent_kafka.TopicPartition(name, number, 0)
             for name, count in topics(side).items() for number in range(count)]
    found, open_parts = {}, {(p.topic, p.partition) for p in parts}
    try:
        consumer.assign(parts)
        while open_parts:
            message = consumer.poll(10)
            assert message is not None, f"{open_parts} never ended"
            at = message.topic(), message.partition()
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF
                open_parts.discard(at)
            else:
                found.setdefault(f"{at[0]} {at[1]}", []).append(
                    f"{message.offset()} {message.timestamp()[1]} {message.value().decode()}")
    finally:
        consumer.close()
    return found


def groups(side):
    """Name -> state, kind, members and positions."""
    admin = side.cluster.admin
    listed = admin.list_consumer_groups(request_timeout=10).result(20)
    assert not listed.errors
    found = {}
    for group in listed.valid:
        asked = [confluent_kafka.ConsumerGroupTopicPartitions(group.group_id)]
        positions = next(iter(admin.list_consumer_group_offsets(asked).values())).result(10)
        found[group.group_id] = {
            "State": group.state.name, "Type": group.type.name,
            "Positions": {f"{p.topic} {p.partition}": p.offset
                          for p in positions.topic_partitions}}
    for name, future in admin.describe_consumer_groups(list(found)).items():
        found[name]["Members"] = sorted(
            (m.client_id, m.group_instance_id or "",
             sorted(f"{p.topic} {p.partition}" for p in m.assignment.topic_partitions))
            for m in future.result(10).members)
    return found


def transactions(side):
    found = {}
    for broker in side.brokers().values():
        for state in broker.ask("ListTransactions", 0, {})["TransactionStates"]:
            found[state["TransactionalId"]] = state["TransactionState"]
    return found


def all_of_them(side):
    """As steps of a transcript."""
    return [("Topics v0", topics(side)), ("Records v0", records(side, "read_uncommitted")),
            ("Records v1", records(side, "read_committed")), ("Groups v0", groups(side)),
            ("Transactions v0", transactions(side))]
