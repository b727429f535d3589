import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.SecurityDisabledException;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.DescribeAclsRequestData;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceResponseData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.requests.AbstractRequest;
import org.apache.kafka.common.requests.AbstractResponse;

import java.io.BufferedWriter;
import java.io.InputStream;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * Prints what the reader in conform.c is held against, a line a case, fields separated by tabs:
 *
 *   msg    API  request|response  VERSION  HEX  JSON
 *          a random message, as Kafka's generated class writes it and its JsonConverter shows it
 *   error  API  VERSION  CODE  REQUEST-HEX  RESPONSE-HEX
 *          what the request's getErrorResponse gives for that code
 *
 * Messages are made from the definitions in the jar itself, so no version or field is forgotten.
 * Arguments: seed, messages for each version.
 */
public final class Generate {
    private static final ObjectMapper MAPPER =
        new ObjectMapper().configure(JsonParser.Feature.ALLOW_COMMENTS, true);
    /** The APIs whose refusals the gate makes up (codec/reply.c). */
    private static final int[] REFUSED = {
        0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 22, 23, 24, 25, 26, 28, 29, 32, 36,
        42, 47, 60, 68, 69, 75};
    private static final short[] CODES = {29, 30, 31, 53, 15, 6};

    private final Random random;
    private final PrintWriter out;
    /** Null records have no size: getErrorResponse of a Produce request wants some. */
    private boolean nulls = true;
    /** A refusal lists each topic once: so must the request, to be compared with Kafka's. */
    private boolean distinct = false;
    private int next = 0;

    private Generate(long seed, PrintWriter out) {
        this.random = new Random(seed);
        this.out = out;
    }

    private record Range(int min, int max) {
        static Range of(String text) {
            if (text == null || text.equals("none"))
                return new Range(1, 0);
            if (text.endsWith("+"))
                return new Range(Integer.parseInt(text.substring(0, text.length() - 1)), 32767);
            String[] ends = text.split("-");
            return new Range(Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1]));
        }

        boolean has(int version) {
            return version >= min && version <= max;
        }
    }

    private static String text(JsonNode node, String name) {
        JsonNode value = node.get(name);
        return value == null ? null : value.asText();
    }

    private static JsonNode definition(String name) throws Exception {
        try (InputStream in = Generate.class.getResourceAsStream("/common/message/" + name + ".json")) {
            return MAPPER.readTree(in);
        }
    }

    private long integer(int bits) {
        return switch (random.nextInt(6)) {
            case 0 -> 0;
            case 1 -> (1L << (bits - 1)) - 1;
            case 2 -> -(1L << (bits - 1));
            case 3 -> random.nextInt(100);
            default -> random.nextLong() >> (64 - bits);
        };
    }

    private String string() {
        int length = switch (random.nextInt(12)) {
            case 0 -> 0;
            case 1 -> 126 + random.nextInt(4);
            case 2 -> 1000 + random.nextInt(4000);
            default -> 1 + random.nextInt(20);
        };
        StringBuilder s = new StringBuilder(distinct ? "n" + next++ : "");
        boolean plain = random.nextInt(3) > 0;
        for (int i = 0; i < length; i++) {
            int c = plain || random.nextInt(3) > 0 ? 1 + random.nextInt(0x7f)
                                                   : 0x80 + random.nextInt(0x10ff80);
            if (c >= 0xd800 && c <= 0xdfff)
                c = 'x';
            s.appendCodePoint(c);
        }
        return s.toString();
    }

    private byte[] bytes() {
        byte[] b = new byte[random.nextInt(5) == 0 ? 0 : random.nextInt(random.nextInt(8) == 0 ? 3000 : 40)];
        random.nextBytes(b);
        return b;
    }

    private JsonNode scalar(String type) {
        JsonNodeFactory f = JsonNodeFactory.instance;
        return switch (type) {
            case "bool" -> f.booleanNode(random.nextBoolean());
            case "int8" -> f.numberNode((short) integer(8));
            case "int16" -> f.numberNode((short) integer(16));
            case "uint16" -> f.numberNode((int) integer(16) & 0xffff);
            case "int32" -> f.numberNode((int) integer(32));
            case "uint32" -> f.numberNode(integer(32) & 0xffffffffL);
            case "int64" -> f.numberNode(integer(64));
            case "float64" -> f.numberNode((random.nextDouble() - 0.5) * Math.pow(10, random.nextInt(40)));
            case "string" -> f.textNode(string());
            case "uuid" -> f.textNode(new Uuid(random.nextLong(), random.nextLong()).toString());
            case "bytes", "records" -> f.binaryNode(bytes());
            default -> null;
        };
    }

    private JsonNode value(String type, JsonNode field, Map<String, JsonNode> structs, int version,
                           int depth) {
        JsonNode scalar = scalar(type);
        if (scalar != null)
            return scalar;
        JsonNode fields = field.has("fields") ? field.get("fields") : structs.get(type);
        return struct(fields, structs, version, depth + 1);
    }

    private JsonNode struct(JsonNode fields, Map<String, JsonNode> structs, int version, int depth) {
        ObjectNode node = JsonNodeFactory.instance.objectNode();
        for (JsonNode field : fields) {
            if (!Range.of(text(field, "versions")).has(version))
                continue;
            boolean tagged = Range.of(text(field, "taggedVersions")).has(version);
            if (tagged && random.nextInt(5) < 2)
                continue;
            String name = text(field, "name");
            name = Character.toLowerCase(name.charAt(0)) + name.substring(1);
            String type = text(field, "type");
            if (nulls && Range.of(text(field, "nullableVersions")).has(version) && random.nextInt(4) == 0) {
                node.putNull(name);
            } else if (type.startsWith("[]")) {
                int n = random.nextInt(40) == 0 && depth < 3 ? 100 + random.nextInt(100)
                                                             : random.nextInt(depth < 2 ? 4 : 3);
                ArrayNode array = node.putArray(name);
                for (int i = 0; i < n; i++)
                    array.add(value(type.substring(2), field, structs, version, depth));
            } else {
                node.set(name, value(type, field, structs, version, depth));
            }
        }
        return node;
    }

    private Message message(String name, int version) throws Exception {
        JsonNode definition = definition(name);
        Map<String, JsonNode> structs = new HashMap<>();
        collect(definition, structs);
        JsonNode json = struct(definition.get("fields"), structs, version, 0);
        Class<?> converter = Class.forName("org.apache.kafka.common.message." + name + "DataJsonConverter");
        Method read = converter.getMethod("read", JsonNode.class, short.class);
        return (Message) read.invoke(null, json, (short) version);
    }

    /** Structs may be used by name anywhere behind the place that spells them out. */
    private static void collect(JsonNode node, Map<String, JsonNode> structs) {
        if (node.has("commonStructs"))
            for (JsonNode s : node.get("commonStructs")) {
                structs.put(text(s, "name"), s.get("fields"));
                collect(s, structs);
            }
        if (node.has("fields"))
            for (JsonNode f : node.get("fields")) {
                if (f.has("fields"))
                    structs.put(text(f, "type").replace("[]", ""), f.get("fields"));
                collect(f, structs);
            }
    }

    private static ByteBuffer write(Message message, int version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, (short) version));
        message.write(new ByteBufferAccessor(buffer), cache, (short) version);
        buffer.flip();
        return buffer;
    }

    private static String hex(ByteBuffer buffer) {
        StringBuilder s = new StringBuilder();
        for (int i = buffer.position(); i < buffer.limit(); i++)
            s.append(String.format("%02x", buffer.get(i) & 0xff));
        return s.isEmpty() ? "-" : s.toString();
    }

    private void printMessage(ApiMessageType api, boolean request, int version) throws Exception {
        String name = api.name + (request ? "Request" : "Response");
        Message message = message(name, version);
        Class<?> converter = Class.forName("org.apache.kafka.common.message." + name + "DataJsonConverter");
        Method toJson = converter.getMethod("write", message.getClass(), short.class, boolean.class);
        JsonNode json = (JsonNode) toJson.invoke(null, message, (short) version, false);
        out.println("msg\t" + api.apiKey() + "\t" + (request ? "request" : "response") + "\t" + version
            + "\t" + hex(write(message, version)) + "\t" + MAPPER.writeValueAsString(json));
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

    private void printError(ApiKeys api, int version, short code) throws Exception {
        nulls = api != ApiKeys.PRODUCE;
        Message message = message(api.messageType.name + "Request", version);
        nulls = true;
        if (message instanceof ProduceRequestData p && !plain(p))
            return;
        if (message instanceof DescribeAclsRequestData d)
            d.setResourceTypeFilter((byte) 2).setPatternTypeFilter((byte) 3).setOperation((byte) 3)
                .setPermissionType((byte) 3); /* other values are refused at parsing */
        ByteBuffer bytes = write(message, version);
        String requestHex = hex(bytes);
        AbstractRequest request = AbstractRequest.parseRequest(api, (short) version,
            new ByteBufferAccessor(bytes)).request;
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
        out.println("error\t" + api.id + "\t" + version + "\t" + code + "\t" + requestHex + "\t"
            + hex(write(response.data(), version)));
    }

    private void run(int count) throws Exception {
        for (ApiMessageType api : ApiMessageType.values()) {
            for (int v = api.lowestSupportedVersion(); v <= api.highestSupportedVersion(true); v++) {
                for (int i = 0; i < count; i++) {
                    printMessage(api, true, v);
                    printMessage(api, false, v);
                }
            }
        }
        distinct = true;
        for (int key : REFUSED) {
            ApiKeys api = ApiKeys.forId(key);
            for (int v = api.messageType.lowestSupportedVersion(); v <= api.messageType.highestSupportedVersion(true); v++) {
                for (short code : CODES)
                    for (int i = 0; i < 3; i++)
                        printError(api, v, code);
                if (key == 29)
                    printError(api, v, (short) 54);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        PrintWriter out = new PrintWriter(new BufferedWriter(
            new OutputStreamWriter(System.out, StandardCharsets.UTF_8)));
        new Generate(Long.parseLong(args[0]), out).run(Integer.parseInt(args[1]));
        out.flush();
    }
}
