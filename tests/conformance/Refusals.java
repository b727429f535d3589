import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.message.DescribeAclsRequestData;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceResponseData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.requests.AbstractRequest;
import org.apache.kafka.common.requests.AbstractResponse;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Requests, and what Kafka answers when they fail as a whole: the cases of kind e. */
final class Refusals {
    private static final short[] CODES = {29, 30, 31, 53, 15, 6};

    private final Generate generate;

    Refusals(Generate generate) {
        this.generate = generate;
    }

    /** Kafka goes through a hash map here: put the answer into the request's order. */
    private static void order(ProduceRequestData request, ProduceResponseData response) {
        Map<String, Integer> topics = new HashMap<>();
        Map<String, Integer> parts = new HashMap<>();
        for (ProduceRequestData.TopicProduceData t : request.topicData()) {
            String key = t.name() + t.topicId();
            topics.put(key, topics.size());
            for (ProduceRequestData.PartitionProduceData p : t.partitionData())
                parts.put(key + " " + p.index(), parts.size());
        }
        List<ProduceResponseData.TopicProduceResponse> list = new ArrayList<>();
        for (ProduceResponseData.TopicProduceResponse t : response.responses())
            list.add(t.duplicate());
        list.sort(Comparator.comparing(t -> topics.get(t.name() + t.topicId())));
        response.responses().clear();
        for (ProduceResponseData.TopicProduceResponse t : list) {
            t.partitionResponses().sort(
                Comparator.comparing(p -> parts.get(t.name() + t.topicId() + " " + p.index())));
            response.responses().add(t);
        }
    }

    private static boolean plain(ProduceRequestData request) {
        for (ProduceRequestData.TopicProduceData t : request.topicData()) {
            List<Integer> seen = new ArrayList<>();
            if (t.partitionData().isEmpty())
                return false;
            for (ProduceRequestData.PartitionProduceData p : t.partitionData())
                if (seen.contains(p.index()))
                    return false;
                else
                    seen.add(p.index());
        }
        return request.acks() != 0;
    }

    private void put(ApiKeys api, Generate.Kind kind, int version, short code) throws Throwable {
        Message message = generate.distinct(kind, version, api != ApiKeys.PRODUCE);
        if (message instanceof ProduceRequestData p && !plain(p))
            return;
        if (message instanceof DescribeAclsRequestData d)
            d.setResourceTypeFilter((byte) 2).setPatternTypeFilter((byte) 3).setOperation((byte) 3)
                .setPermissionType((byte) 3); /* other values are refused at parsing */
        byte[] bytes = Generate.write(message, version);
        AbstractRequest request = AbstractRequest.parseRequest(api, (short) version,
            new ByteBufferAccessor(ByteBuffer.wrap(bytes))).request;
        Throwable why = code == 54
            ? new SecurityDisabledException("No Authorizer is configured on the broker")
            : Errors.forCode(code).exception();
        AbstractResponse response;
        try {
            response = request.getErrorResponse(0, why);
        } catch (NullPointerException e) {
            return; /* Kafka has no answer to some nulls that the protocol allows */
        }
        if (message instanceof ProduceRequestData p)
            order(p, (ProduceResponseData) response.data());
        generate.put('e', api.id, version, code, bytes, Generate.write(response.data(), version));
    }

    void put(int key) throws Throwable {
        ApiKeys api = ApiKeys.forId(key);
        Generate.Kind kind = generate.kind(api.messageType, true);
        int last = api.messageType.highestSupportedVersion(true);
        for (int v = api.messageType.lowestSupportedVersion(); v <= last; v++) {
            for (short code : CODES)
                for (int i = 0; i < 3; i++)
                    put(api, kind, v, code);
            if (api == ApiKeys.DESCRIBE_ACLS)
                put(api, kind, v, (short) 54);
        }
    }
}
