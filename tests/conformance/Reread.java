import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.RawTaggedField;

import java.io.BufferedInputStream;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Reads what the gate has written, as conform-gate puts it down: every frame must be read by Kafka's
 * generated classes to its last byte, and written by them as the same bytes.
 *
 * Arguments: the file, the jar of these classes, and jars of other releases, whose versions are left
 * to them. A case of the sum is a kind, API and version.
 */
public final class Reread {
    private final List<Map<String, Definitions.Message>> others = new ArrayList<>();
    private final Map<String, Integer> failures = new TreeMap<>();
    private int messages;

    private static byte[] write(Message head, short headVersion, Message body, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = head.size(cache, headVersion) + body.size(cache, version);
        ByteBufferAccessor out = new ByteBufferAccessor(ByteBuffer.allocate(size));
        head.write(out, cache, headVersion);
        body.write(out, cache, version);
        return out.buffer().array();
    }

    /** Why the frame is not as Kafka has it; null when it is. */
    private static String check(boolean request, short key, short version, byte[] frame) {
        ApiMessageType api = ApiMessageType.fromApiKey(key);
        short headVersion = request ? api.requestHeaderVersion(version) : api.responseHeaderVersion(version);
        ApiMessage head = request ? new RequestHeaderData() : new ResponseHeaderData();
        ApiMessage body = request ? api.newRequest() : api.newResponse();
        ByteBuffer in = ByteBuffer.wrap(frame);
        try {
            head.read(new ByteBufferAccessor(in), headVersion);
            body.read(new ByteBufferAccessor(in), version);
        } catch (RuntimeException e) {
            return "not read: " + e;
        }
        if (in.hasRemaining())
            return in.remaining() + " bytes are left over";
        /* From a Fetch answer that streams past nothing can be taken: what is unknown is zeroed. */
        boolean streamed = !request && api == ApiMessageType.FETCH;
        for (RawTaggedField f : body.unknownTaggedFields())
            if (!streamed || !Arrays.equals(f.data(), new byte[f.size()]))
                return "an unknown tag";
        if (!head.unknownTaggedFields().isEmpty())
            return "an unknown tag in the header";
        return Arrays.equals(write(head, headVersion, body, version), frame) ? null : "other bytes";
    }

    private void one(boolean request, short key, short version, byte[] frame) {
        ApiMessageType api = ApiMessageType.fromApiKey(key);
        String name = api.name + (request ? "Request" : "Response");
        if (others.stream().anyMatch(o -> Definitions.has(o, name, version)))
            return;
        String why = check(request, key, version, frame);
        String what = name + " " + version;
        messages++;
        failures.putIfAbsent(what, 0);
        if (why != null && failures.merge(what, 1, Integer::sum) == 1)
            System.out.println("FAILED " + what + ": " + why);
    }

    private void read(String path, boolean left, Map<String, Definitions.Message> own) throws Exception {
        try (DataInputStream in = new DataInputStream(new BufferedInputStream(new FileInputStream(path)))) {
            for (int kind = in.readByte(); kind != 0; kind = in.readByte()) {
                short key = in.readShort(), version = in.readShort();
                in.readShort();
                byte[] frame = new byte[in.readInt()];
                in.readFully(frame);
                in.skipBytes(in.readInt());
                String name = ApiMessageType.fromApiKey(key).name + (kind == 'q' ? "Request" : "Response");
                if (!left || Definitions.has(own, name, version))
                    one(kind == 'q', key, version, frame);
            }
        }
    }

    public static void main(String[] args) throws Exception {
        Reread r = new Reread();
        for (int i = 2; i < args.length; i++)
            r.others.add(Definitions.of(args[i]));
        /* The first release reads what it knows, the others all the rest. */
        r.read(args[0], r.others.isEmpty(), Definitions.of(args[1]));
        long failed = r.failures.values().stream().filter(n -> n > 0).count();
        System.out.println("conformance, edited by the gate: " + (r.failures.size() - failed) + " passed, "
            + failed + " failed (" + r.messages + " frames)");
        System.exit(failed == 0 ? 0 : 1);
    }
}
