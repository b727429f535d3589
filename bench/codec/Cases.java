import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.FetchRequestData;
import org.apache.kafka.common.message.FetchResponseData;
import org.apache.kafka.common.message.JoinGroupRequestData;
import org.apache.kafka.common.message.JoinGroupResponseData;
import org.apache.kafka.common.message.MetadataRequestData;
import org.apache.kafka.common.message.MetadataResponseData;
import org.apache.kafka.common.message.OffsetCommitRequestData;
import org.apache.kafka.common.message.OffsetCommitResponseData;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceResponseData;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.record.internal.MemoryRecords;

import java.io.PrintWriter;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;

/**
 * The messages of `make bench-codec`, made and read by Kafka's own generated classes.
 *
 *   Cases write DIRECTORY   a file a message body, and `cases`: name, API key, version, direction
 *   Cases read DIRECTORY    reads each again and again; prints "CASE kafka NANOSECONDS" a round
 */
public final class Cases {
    private static final int TOPICS = 8;
    private static final int PARTITIONS = 6;
    private static final int RECORDS = 1024;
    private static final int ROUNDS = 150;
    private static final long ROUND_NS = 4_000_000L;
    private static final long WARM_NS = 3_000_000_000L;

    private record Case(int api, short version, boolean request, Message made,
                        Supplier<Message> empty) {}

    private static long sink;

    private static String topic(int i) {
        return "partner-a.orders.region-" + i;
    }

    private static Uuid id(int i) {
        return new Uuid(0x1234_5678_9abc_4ef0L + i, 0x8fed_cba9_8765_4321L + i);
    }

    /** Its content is nobody's business here: opaque bytes of that size. */
    private static MemoryRecords records() {
        return MemoryRecords.readableRecords(ByteBuffer.allocate(RECORDS));
    }

    private static Message metadataRequest() {
        MetadataRequestData m = new MetadataRequestData().setAllowAutoTopicCreation(false);
        for (int i = 0; i < TOPICS; i++)
            m.topics().add(new MetadataRequestData.MetadataRequestTopic().setName(topic(i)));
        return m;
    }

    private static Message metadataResponse() {
        MetadataResponseData m = new MetadataResponseData().setControllerId(2)
            .setClusterId("4L6g3nShT-eMCtK--X86sw");
        for (int i = 1; i <= 3; i++)
            m.brokers().add(new MetadataResponseData.MetadataResponseBroker().setNodeId(i)
                .setHost("kafka-" + i + ".cluster.internal").setPort(9092).setRack("rack-" + i));
        for (int i = 0; i < TOPICS; i++) {
            var t = new MetadataResponseData.MetadataResponseTopic().setName(topic(i))
                .setTopicId(id(i));
            for (int p = 0; p < PARTITIONS; p++)
                t.partitions().add(new MetadataResponseData.MetadataResponsePartition()
                    .setPartitionIndex(p).setLeaderId(1 + p % 3).setLeaderEpoch(7)
                    .setReplicaNodes(List.of(1, 2, 3)).setIsrNodes(List.of(1, 2, 3)));
            m.topics().add(t);
        }
        return m;
    }

    private static Message fetchRequest() {
        FetchRequestData m = new FetchRequestData().setMaxWaitMs(500).setMinBytes(1)
            .setMaxBytes(52428800);
        for (int i = 0; i < TOPICS; i++) {
            var t = new FetchRequestData.FetchTopic().setTopicId(id(i));
            for (int p = 0; p < PARTITIONS; p++)
                t.partitions().add(new FetchRequestData.FetchPartition().setPartition(p)
                    .setCurrentLeaderEpoch(7).setFetchOffset(1_000_000L + p)
                    .setPartitionMaxBytes(1048576));
            m.topics().add(t);
        }
        return m;
    }

    private static Message fetchResponse() {
        FetchResponseData m = new FetchResponseData();
        for (int i = 0; i < TOPICS; i++) {
            var t = new FetchResponseData.FetchableTopicResponse().setTopicId(id(i));
            for (int p = 0; p < PARTITIONS; p++)
                t.partitions().add(new FetchResponseData.PartitionData().setPartitionIndex(p)
                    .setHighWatermark(1_000_100L).setLastStableOffset(1_000_100L)
                    .setLogStartOffset(10).setRecords(records()));
            m.responses().add(t);
        }
        return m;
    }

    private static Message produceRequest() {
        ProduceRequestData m = new ProduceRequestData().setAcks((short) -1).setTimeoutMs(30000);
        for (int i = 0; i < TOPICS; i++) {
            var t = new ProduceRequestData.TopicProduceData().setName(topic(i));
            for (int p = 0; p < PARTITIONS; p++)
                t.partitionData().add(new ProduceRequestData.PartitionProduceData().setIndex(p)
                    .setRecords(records()));
            m.topicData().add(t);
        }
        return m;
    }

    private static Message produceResponse() {
        ProduceResponseData m = new ProduceResponseData();
        for (int i = 0; i < TOPICS; i++) {
            var t = new ProduceResponseData.TopicProduceResponse().setName(topic(i));
            for (int p = 0; p < PARTITIONS; p++)
                t.partitionResponses().add(new ProduceResponseData.PartitionProduceResponse()
                    .setIndex(p).setBaseOffset(1_000_000L + p).setLogStartOffset(10));
            m.responses().add(t);
        }
        return m;
    }

    private static Message joinGroupRequest() {
        JoinGroupRequestData m = new JoinGroupRequestData().setGroupId("partner-a.readers")
            .setSessionTimeoutMs(45000).setRebalanceTimeoutMs(300000)
            .setMemberId("consumer-1-6d2a3f57-8b1e-4c8e-9a3c-0f2b7c9d1e55")
            .setProtocolType("consumer");
        for (String name : List.of("range", "cooperative-sticky"))
            m.protocols().add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName(name)
                .setMetadata(new byte[120]));
        return m;
    }

    private static Message joinGroupResponse() {
        JoinGroupResponseData m = new JoinGroupResponseData().setGenerationId(12)
            .setProtocolName("range").setLeader("consumer-0-6d2a3f57-8b1e-4c8e-9a3c-0f2b7c9d1e55")
            .setMemberId("consumer-0-6d2a3f57-8b1e-4c8e-9a3c-0f2b7c9d1e55");
        for (int i = 0; i < 12; i++)
            m.members().add(new JoinGroupResponseData.JoinGroupResponseMember()
                .setMemberId("consumer-" + i + "-6d2a3f57-8b1e-4c8e-9a3c-0f2b7c9d1e55")
                .setMetadata(new byte[120]));
        return m;
    }

    private static Message offsetCommitRequest() {
        OffsetCommitRequestData m = new OffsetCommitRequestData().setGroupId("partner-a.readers")
            .setGenerationIdOrMemberEpoch(12)
            .setMemberId("consumer-1-6d2a3f57-8b1e-4c8e-9a3c-0f2b7c9d1e55");
        for (int i = 0; i < TOPICS; i++) {
            var t = new OffsetCommitRequestData.OffsetCommitRequestTopic().setName(topic(i));
            for (int p = 0; p < PARTITIONS; p++)
                t.partitions().add(new OffsetCommitRequestData.OffsetCommitRequestPartition()
                    .setPartitionIndex(p).setCommittedOffset(1_000_000L + p)
                    .setCommittedLeaderEpoch(7).setCommittedMetadata(""));
            m.topics().add(t);
        }
        return m;
    }

    private static Message offsetCommitResponse() {
        OffsetCommitResponseData m = new OffsetCommitResponseData();
        for (int i = 0; i < TOPICS; i++) {
            var t = new OffsetCommitResponseData.OffsetCommitResponseTopic().setName(topic(i));
            for (int p = 0; p < PARTITIONS; p++)
                t.partitions().add(new OffsetCommitResponseData.OffsetCommitResponsePartition()
                    .setPartitionIndex(p));
            m.topics().add(t);
        }
        return m;
    }

    /** The newest versions that both librdkafka and the gate's brokers' side speak. */
    private static Map<String, Case> cases() {
        Map<String, Case> all = new LinkedHashMap<>();
        all.put("Metadata-request", new Case(3, (short) 12, true, metadataRequest(),
            MetadataRequestData::new));
        all.put("Metadata-response", new Case(3, (short) 12, false, metadataResponse(),
            MetadataResponseData::new));
        all.put("Fetch-request", new Case(1, (short) 15, true, fetchRequest(),
            FetchRequestData::new));
        all.put("Fetch-response", new Case(1, (short) 15, false, fetchResponse(),
            FetchResponseData::new));
        all.put("Produce-request", new Case(0, (short) 10, true, produceRequest(),
            ProduceRequestData::new));
        all.put("Produce-response", new Case(0, (short) 10, false, produceResponse(),
            ProduceResponseData::new));
        all.put("JoinGroup-request", new Case(11, (short) 5, true, joinGroupRequest(),
            JoinGroupRequestData::new));
        all.put("JoinGroup-response", new Case(11, (short) 5, false, joinGroupResponse(),
            JoinGroupResponseData::new));
        all.put("OffsetCommit-request", new Case(8, (short) 9, true, offsetCommitRequest(),
            OffsetCommitRequestData::new));
        all.put("OffsetCommit-response", new Case(8, (short) 9, false, offsetCommitResponse(),
            OffsetCommitResponseData::new));
        return all;
    }

    private static void write(Path to) throws Exception {
        try (PrintWriter list = new PrintWriter(Files.newBufferedWriter(to.resolve("cases")))) {
            for (var e : cases().entrySet()) {
                Case c = e.getValue();
                ByteBuffer b = MessageUtil.toByteBufferAccessor(c.made, c.version).buffer();
                byte[] bytes = new byte[b.remaining()];
                b.get(bytes);
                Files.write(to.resolve(e.getKey()), bytes);
                list.printf("%s %d %d %s%n", e.getKey(), c.api, c.version,
                    c.request ? "request" : "response");
            }
        }
    }

    private static long readFor(Case c, ByteBuffer bytes, long ns, ThreadMXBean threads) {
        long begin = threads.getCurrentThreadCpuTime();
        long messages = 0;
        long now = begin;
        while (now - begin < ns) {
            for (int i = 0; i < 256; i++) {
                bytes.rewind();
                Message m = c.empty.get();
                m.read(new ByteBufferAccessor(bytes), c.version);
                sink += System.identityHashCode(m) & 1;
            }
            messages += 256;
            now = threads.getCurrentThreadCpuTime();
        }
        return (now - begin) * 1000 / messages;
    }

    /** Everything is warmed up once before anything is measured, so that no call site is compiled
     *  for one class alone. The collector's and compiler's threads are not counted. */
    private static void read(Path from) throws Exception {
        ThreadMXBean threads = ManagementFactory.getThreadMXBean();
        Map<String, Case> all = cases();
        Map<String, ByteBuffer> bytes = new LinkedHashMap<>();
        for (String name : all.keySet())
            bytes.put(name, ByteBuffer.wrap(Files.readAllBytes(from.resolve(name))));
        List<String> names = new ArrayList<>(all.keySet());
        for (String name : names) {
            Message m = all.get(name).empty.get();
            m.read(new ByteBufferAccessor(bytes.get(name)), all.get(name).version);
            if (!m.equals(all.get(name).made))
                throw new IllegalStateException(name + " is not read as it was written");
        }
        for (String name : names)
            readFor(all.get(name), bytes.get(name), WARM_NS / names.size() * 2, threads);
        for (int round = 0; round < ROUNDS; round++)
            for (String name : names)
                System.out.printf("%s kafka %.3f%n", name,
                    readFor(all.get(name), bytes.get(name), ROUND_NS, threads) / 1000.0);
        System.err.println("(" + sink + ")");
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("write"))
            write(Path.of(args[1]));
        else
            read(Path.of(args[1]));
    }
}
