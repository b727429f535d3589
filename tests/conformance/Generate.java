import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

import java.io.BufferedOutputStream;
import java.io.DataOutputStream;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.IOException;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * Writes the cases that `conform messages` reads; conform.c says how they stand in the stream.
 *
 *   q, r  a message, as Kafka's generated class writes it and its JsonConverter shows it
 *   Q, R  a header, as Kafka writes it for that API and version
 *   e     a request, and what its getErrorResponse gives for that code
 *
 * Messages are made from the definitions in the jar itself, so no version or field is forgotten:
 * the first ones of a version hold edge values, the rest random ones. Arguments: seed, messages a
 * version, the release of the classes, the jar that they are from, the list of differences, the
 * APIs whose refusals the gate makes up (with commas; - for none), and jars of other releases, whose
 * versions are left to them.
 */
public final class Generate {
    private static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    /** What the next message's values are like. */
    private enum Mood { DEFAULT, LEAST, MOST, NULL, EDGE, LONG, RANDOM }

    private final Random random;
    private final DataOutputStream out;
    private final String release;
    private final Map<String, Definitions.Message> definitions;
    private final Differences differences;
    /** Null records have no size: getErrorResponse of a Produce request wants some. */
    private boolean nulls = true;
    /** A refusal lists each topic once: so must the request, to be compared with Kafka's. */
    private boolean distinct;
    private int next;
    private Mood mood = Mood.RANDOM;
    private boolean longUsed;

    private Generate(String[] args, DataOutputStream out) throws IOException {
        this.random = new Random(Long.parseLong(args[0]));
        this.out = out;
        this.release = args[2];
        this.definitions = Definitions.of(args[3]);
        this.differences = new Differences(args[4]);
    }

    /** A message's classes, looked up once. */
    record Kind(Definitions.Message definition, String ours, boolean renamed, MethodHandle read,
                        MethodHandle write) {
    }

    Kind kind(ApiMessageType api, boolean request) throws Exception {
        String name = api.name + (request ? "Request" : "Response");
        Class<?> data = Class.forName("org.apache.kafka.common.message." + name + "Data");
        Class<?> converter = Class.forName(data.getName() + "JsonConverter");
        Method read = converter.getMethod("read", JsonNode.class, short.class);
        Method write = converter.getMethod("write", data, short.class, boolean.class);
        MethodHandles.Lookup look = MethodHandles.publicLookup();
        String ours = differences.oursOf(release, name);
        return new Kind(definitions.get(name), ours, differences.renames(release, ours), look.unreflect(read),
            look.unreflect(write));
    }

    /* --- values */

    private long integer(int bits) {
        long most = bits == 64 ? Long.MAX_VALUE : (1L << (bits - 1)) - 1;
        return switch (mood) {
            case DEFAULT -> 0;
            case LEAST -> -most - 1;
            case MOST, LONG -> most;
            case NULL -> -1;
            case EDGE -> {
                long[] edges = {0, 1, -1, most, -most - 1, 127, 128, most - 1};
                yield edges[random.nextInt(edges.length)] << 64 - bits >> 64 - bits;
            }
            case RANDOM -> switch (random.nextInt(6)) {
                case 0 -> 0;
                case 1 -> most;
                case 2 -> -most - 1;
                case 3 -> random.nextInt(100);
                default -> random.nextLong() >> (64 - bits);
            };
        };
    }

    /** Lengths around which a length's own size changes, and the longest string there may be. */
    private int length(boolean text) {
        if (mood == Mood.LONG && !longUsed) {
            longUsed = true;
            return text ? Short.MAX_VALUE : 40000;
        }
        return switch (mood) {
            case DEFAULT, LEAST, NULL -> 0;
            case LONG -> 1;
            case MOST -> 128;
            case EDGE -> 125 + random.nextInt(5);
            case RANDOM -> switch (random.nextInt(40)) {
                case 0, 1, 2 -> 0;
                case 3 -> 126 + random.nextInt(4);
                case 4 -> 1000 + random.nextInt(1000);
                default -> 1 + random.nextInt(20);
            };
        };
    }

    private String string() {
        int length = length(true);
        StringBuilder s = new StringBuilder(distinct ? "n" + next++ : "");
        boolean plain = mood != Mood.RANDOM || random.nextInt(3) > 0;
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
        byte[] b = new byte[length(false)];
        random.nextBytes(b);
        return b;
    }

    private double real() {
        return switch (mood) {
            case DEFAULT, NULL -> 0;
            case LEAST -> -Double.MAX_VALUE;
            case MOST, LONG -> Double.MAX_VALUE;
            case EDGE -> {
                double[] edges = {Double.MIN_VALUE, -0.0, 1.0 / 3, Double.NaN, Double.POSITIVE_INFINITY};
                yield edges[random.nextInt(edges.length)];
            }
            case RANDOM -> (random.nextDouble() - 0.5) * Math.pow(10, random.nextInt(40));
        };
    }

    private Uuid uuid() {
        return switch (mood) {
            case DEFAULT, LEAST, NULL -> Uuid.ZERO_UUID;
            case MOST, LONG -> new Uuid(-1, -1);
            case EDGE, RANDOM -> new Uuid(random.nextLong(), random.nextLong());
        };
    }

    private JsonNode scalar(String type) {
        return switch (type) {
            case "bool" -> NODES.booleanNode(mood == Mood.MOST || mood != Mood.LEAST && random.nextBoolean());
            case "int8" -> NODES.numberNode((short) integer(8));
            case "int16" -> NODES.numberNode((short) integer(16));
            case "uint16" -> NODES.numberNode((int) integer(16) & 0xffff);
            case "int32" -> NODES.numberNode((int) integer(32));
            case "uint32" -> NODES.numberNode(integer(32) & 0xffffffffL);
            case "int64" -> NODES.numberNode(integer(64));
            case "float64" -> NODES.numberNode(real());
            case "string" -> NODES.textNode(string());
            case "uuid" -> NODES.textNode(uuid().toString());
            case "bytes", "records" -> NODES.binaryNode(bytes());
            default -> throw new IllegalStateException(type);
        };
    }

    private JsonNode value(Definitions.Field field, int version, int depth) {
        return field.type().equals("struct") ? struct(field.fields(), version, depth + 1)
                                             : scalar(field.type());
    }

    private int elements(Definitions.Field field, int depth) {
        return switch (mood) {
            case DEFAULT, LEAST -> 0;
            case NULL, LONG -> 1;
            case MOST -> 2;
            case EDGE -> field.type().equals("struct") ? 1 + random.nextInt(2) : 126 + random.nextInt(3);
            case RANDOM -> random.nextInt(200) == 0 && depth < 2 ? 100 + random.nextInt(100)
                                                                 : random.nextInt(depth < 2 ? 4 : 3);
        };
    }

    private boolean isNull() {
        return switch (mood) {
            case NULL -> true;
            case RANDOM -> random.nextInt(4) == 0;
            case DEFAULT, LEAST, MOST, EDGE, LONG -> false;
        };
    }

    private boolean tagged() {
        return switch (mood) {
            case DEFAULT -> false;
            case RANDOM -> random.nextInt(5) > 1;
            case LEAST, MOST, NULL, EDGE, LONG -> true;
        };
    }

    private JsonNode struct(List<Definitions.Field> fields, int version, int depth) {
        ObjectNode node = NODES.objectNode();
        for (Definitions.Field f : fields) {
            if (!f.versions().has(version) || f.tagged().has(version) && !tagged())
                continue;
            if (nulls && f.nullable().has(version) && isNull()) {
                node.putNull(f.name());
            } else if (f.array()) {
                ArrayNode array = node.putArray(f.name());
                for (int i = elements(f, depth); i > 0; i--)
                    array.add(value(f, version, depth));
            } else {
                node.set(f.name(), value(f, version, depth));
            }
        }
        return node;
    }

    /* --- cases */

    void put(char kind, int api, int version, int code, byte[] a, byte[] b) throws IOException {
        out.writeByte(kind);
        out.writeShort(api);
        out.writeShort(version);
        out.writeShort(code);
        out.writeInt(a.length);
        out.write(a);
        out.writeInt(b.length);
        out.write(b);
    }

    static byte[] write(Message message, int version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, (short) version));
        message.write(new ByteBufferAccessor(buffer), cache, (short) version);
        return buffer.array();
    }

    /** Fields that bear another name with us get it: the list of differences names them. */
    private void rename(JsonNode node, String path, List<Definitions.Field> fields, int version) {
        for (Definitions.Field f : fields) {
            if (!f.versions().has(version) || !node.has(f.name()))
                continue;
            String ours = differences.oursOf(release, path + f.name());
            JsonNode value = node.get(f.name());
            for (JsonNode n : f.array() ? value : List.of(value))
                if (n.isObject())
                    rename(n, path + ours + ".", f.fields(), version);
            if (!ours.equals(f.name()))
                ((ObjectNode) node).set(ours, ((ObjectNode) node).remove(f.name()));
        }
    }

    private void putMessage(ApiMessageType api, Kind kind, boolean request, int version) throws Throwable {
        longUsed = false;
        JsonNode json = struct(kind.definition.fields(), version, 0);
        Message message = (Message) kind.read.invoke(json, (short) version);
        json = (JsonNode) kind.write.invoke(message, (short) version, false);
        if (kind.renamed)
            rename(json, kind.ours + ".", kind.definition.fields(), version);
        put(request ? 'q' : 'r', api.apiKey(), version, 0, write(message, version),
            Definitions.MAPPER.writeValueAsBytes(json));
    }

    /** A message with each topic once; some callers want no null in it. */
    Message distinct(Kind kind, int version, boolean withNull) throws Throwable {
        distinct = true;
        nulls = withNull;
        JsonNode json = struct(kind.definition.fields(), version, 0);
        Message message = (Message) kind.read.invoke(json, (short) version);
        nulls = true;
        distinct = false;
        return message;
    }

    private void putHeaders(ApiMessageType api, int version) throws IOException {
        for (int i = 0; i < 4; i++) {
            String id = i == 0 ? null : i == 1 ? "" : "client-".repeat(i * 5) + "é" + random.nextInt(1000);
            Message head = new RequestHeaderData().setRequestApiKey(api.apiKey())
                .setRequestApiVersion((short) version).setCorrelationId(random.nextInt()).setClientId(id);
            put('Q', api.apiKey(), version, id == null ? -1 : 0,
                write(head, api.requestHeaderVersion((short) version)),
                id == null ? new byte[0] : id.getBytes(StandardCharsets.UTF_8));
            put('R', api.apiKey(), version, 0,
                write(new ResponseHeaderData().setCorrelationId(random.nextInt()),
                    api.responseHeaderVersion((short) version)), new byte[0]);
        }
    }

    private void run(int count, String refused, List<Map<String, Definitions.Message>> others)
            throws Throwable {
        for (ApiMessageType api : ApiMessageType.values()) {
            if (api.lowestSupportedVersion() > api.highestSupportedVersion(true))
                continue; // an API that is gone
            for (boolean request : new boolean[] {true, false}) {
                Kind kind = kind(api, request);
                String name = api.name + (request ? "Request" : "Response");
                for (int v = api.lowestSupportedVersion(); v <= api.highestSupportedVersion(true); v++) {
                    int version = v;
                    if (others.stream().anyMatch(o -> Definitions.has(o, name, version))
                        || differences.lacks(release, kind.ours, version))
                        continue;
                    for (int i = 0; i < count; i++) {
                        mood = i < 2 * (Mood.values().length - 1) ? Mood.values()[i / 2] : Mood.RANDOM;
                        putMessage(api, kind, request, v);
                    }
                    mood = Mood.RANDOM;
                    if (request)
                        putHeaders(api, v);
                }
            }
        }
        if (!refused.equals("-"))
            for (String key : refused.split(","))
                new Refusals(this).put(Integer.parseInt(key));
        out.writeByte(0);
    }

    public static void main(String[] args) throws Throwable {
        try (DataOutputStream out = new DataOutputStream(
                 new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 20))) {
            List<Map<String, Definitions.Message>> others = new ArrayList<>();
            for (int i = 6; i < args.length; i++)
                others.add(Definitions.of(args[i]));
            new Generate(args, out).run(Integer.parseInt(args[1]), args[5], others);
        }
    }
}
