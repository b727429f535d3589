import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * The other side of differential.c: reads frames with Kafka's own generated classes and says what
 * came of each. Everything is big-endian.
 *
 * First out: the number of APIs, and for each its key, lowest and highest version (two bytes each).
 * Then, until the input ends, batches. In: the number of frames (four bytes); for each one byte
 * (1: a request), key and version (two bytes each), length (four bytes), and the frame without its
 * length. Out: for each a byte (what came of it), four bytes (bytes left over), the length of a
 * text (four bytes), and the text: how Kafka writes again what it has read (correlation id, client
 * id as a text of its own length in two bytes, body), or why it refused.
 */
public final class Judge {
    private static final int REFUSED = 0;
    private static final int TAKEN = 1;
    private static final int NOT_WRITTEN = 2;

    private final DataInputStream in;
    private final DataOutputStream out;
    private final Map<Integer, ApiMessageType> apis = new HashMap<>();
    private byte[] bytes = new byte[1 << 16];
    private ByteBuffer again = ByteBuffer.allocate(1 << 16);

    private Judge(DataInputStream in, DataOutputStream out) {
        this.in = in;
        this.out = out;
        for (ApiMessageType api : ApiMessageType.values())
            apis.put((int) api.apiKey(), api);
    }

    private void tellVersions() throws IOException {
        out.writeShort(apis.size());
        for (ApiMessageType api : apis.values()) {
            out.writeShort(api.apiKey());
            out.writeShort(api.lowestSupportedVersion());
            out.writeShort(api.highestSupportedVersion(true));
        }
        out.flush();
    }

    private void answer(int what, int left, byte[] text, int length) throws IOException {
        out.writeByte(what);
        out.writeInt(left);
        out.writeInt(length);
        out.write(text, 0, length);
    }

    private void refuse(int what, int left, Throwable e) throws IOException {
        byte[] text = e.toString().getBytes(StandardCharsets.UTF_8);
        answer(what, left, text, Math.min(text.length, 200));
    }

    private void write(int correlation, String client, ApiMessage body, short version) {
        byte[] id = client == null ? new byte[0] : client.getBytes(StandardCharsets.UTF_8);
        ObjectSerializationCache cache = new ObjectSerializationCache();
        int size = body.size(cache, version) + id.length + 6;
        if (again.capacity() < size)
            again = ByteBuffer.allocate(2 * size);
        again.clear();
        again.putInt(correlation);
        again.putShort((short) (client == null ? -1 : id.length));
        again.put(id);
        body.write(new ByteBufferAccessor(again), cache, version);
        if (again.position() != size)
            throw new IllegalStateException("another size");
    }

    private void judge(boolean request, ApiMessageType api, short version, ByteBuffer frame)
        throws IOException {
        ApiMessage body = request ? api.newRequest() : api.newResponse();
        int correlation;
        String client = null;
        try {
            ByteBufferAccessor from = new ByteBufferAccessor(frame);
            if (request) {
                RequestHeaderData head = new RequestHeaderData(from, api.requestHeaderVersion(version));
                correlation = head.correlationId();
                client = head.clientId();
            } else {
                correlation = new ResponseHeaderData(from, api.responseHeaderVersion(version)).correlationId();
            }
            body.read(from, version);
        } catch (RuntimeException e) {
            refuse(REFUSED, 0, e);
            return;
        }
        try {
            write(correlation, client, body, version);
        } catch (RuntimeException e) {
            refuse(NOT_WRITTEN, frame.remaining(), e);
            return;
        }
        answer(TAKEN, frame.remaining(), again.array(), again.position());
    }

    private void run() throws IOException {
        tellVersions();
        for (;;) {
            int count;
            try {
                count = in.readInt();
            } catch (EOFException e) {
                return;
            }
            for (int i = 0; i < count; i++) {
                boolean request = in.readByte() == 1;
                ApiMessageType api = apis.get((int) in.readShort());
                short version = in.readShort();
                int length = in.readInt();
                if (bytes.length < length)
                    bytes = new byte[2 * length];
                in.readFully(bytes, 0, length);
                judge(request, api, version, ByteBuffer.wrap(bytes, 0, length));
            }
            out.flush();
        }
    }

    public static void main(String[] args) throws IOException {
        new Judge(new DataInputStream(new BufferedInputStream(System.in, 1 << 20)),
            new DataOutputStream(new BufferedOutputStream(System.out, 1 << 20))).run();
    }
}
