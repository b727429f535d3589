"""The broker that the gate is held against: one node, with Kafka's own authorizer and ACLs that say
what the gate's grants say. It is one broker with node id 0 and no rack, which is what the gate
claims to be before its three."""

import confluent_kafka.admin as admin

import kafka

HOST, NODE, CLUSTER_ID = "127.0.0.1", 0, "REFERENCEclusterAclsAQ"

PROPERTIES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",  # the plain listener: brokers, and the tests' administration
    "offsets.topic.replication.factor": 1,
    "transaction.state.log.replication.factor": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "default.replication.factor": 1,
    # A client of the gate creates nothing by asking. The brokers behind the gate would.
    "auto.create.topics.enable": "false",
}

_TOPIC = {"read": admin.AclOperation.READ, "write": admin.AclOperation.WRITE,
          "describe_configs": admin.AclOperation.DESCRIBE_CONFIGS}
_GROUP = {"read": admin.AclOperation.READ, "manage": admin.AclOperation.DELETE}
_TRANSACTION = {"write": admin.AclOperation.WRITE}


def cluster(directory, authority, idp):
    return kafka.Cluster(directory, authority, idp, (HOST,), (NODE,), (), CLUSTER_ID, PROPERTIES)


def allow(made, grants):
    """ACLs of the grants' rights. Kafka's groups and transactional ids are by prefix here, as are
    the gate's; DESCRIBE follows from the others on both."""
    bindings = []
    for grant in grants:
        user = f"User:{grant['principal']['subject']}"

        def add(kind, name, pattern, table):
            bindings.extend(admin.AclBinding(
                kind, name, pattern, user, "*", table[operation], admin.AclPermissionType.ALLOW)
                for operation in grant["operations"] if operation in table)
        for topic in grant["topics"]:
            add(admin.ResourceType.TOPIC, topic, admin.ResourcePatternType.LITERAL, _TOPIC)
        prefix = grant["group_prefix"]
        add(admin.ResourceType.GROUP, prefix, admin.ResourcePatternType.PREFIXED, _GROUP)
        add(admin.ResourceType.TRANSACTIONAL_ID, prefix, admin.ResourcePatternType.PREFIXED,
            _TRANSACTION)
    for future in made.admin.create_acls(bindings).values():
        future.result(10)
