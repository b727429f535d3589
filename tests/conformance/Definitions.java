import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;

import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * The message definitions inside a kafka-clients jar (common/message/*.json), as trees: what Kafka's
 * generated classes were generated from. Versions of a field are cut to its parent's, those of a
 * message's fields to the message's valid ones.
 */
final class Definitions {
    static final ObjectMapper MAPPER = new ObjectMapper().configure(JsonParser.Feature.ALLOW_COMMENTS, true);

    /** Both ends belong to it; empty when min is above max. */
    record Range(int min, int max) {
        static final Range NONE = new Range(1, 0);

        static Range of(String text) {
            if (text == null || text.equals("none"))
                return NONE;
            if (text.endsWith("+"))
                return new Range(Integer.parseInt(text.substring(0, text.length() - 1)), Short.MAX_VALUE);
            String[] ends = text.split("-");
            return new Range(Integer.parseInt(ends[0]), Integer.parseInt(ends[ends.length - 1]));
        }

        boolean has(int version) {
            return version >= min && version <= max;
        }

        boolean isEmpty() {
            return min > max;
        }

        Range cut(Range other) {
            Range both = new Range(Math.max(min, other.min), Math.min(max, other.max));
            return both.isEmpty() ? NONE : both;
        }

        @Override
        public String toString() {
            return isEmpty() ? "none" : min == max ? "" + min : min + "-" + max;
        }
    }

    /** type: of the element, for an array; a struct's is "struct". value: the default, as JSON has it. */
    record Field(String name, String type, boolean array, Range versions, Range nullable, Range tagged,
                 int tag, String value, boolean ignorable, List<Field> fields) {
    }

    /** kind: request or response; key -1 for a header. */
    record Message(String name, String kind, int key, Range versions, Range flexible, List<Field> fields) {
    }

    private final Map<String, JsonNode> structs = new HashMap<>();

    private Definitions() {
    }

    /** All requests, responses and headers of the jar, by name. */
    static Map<String, Message> of(String jar) throws IOException {
        Map<String, Message> all = new TreeMap<>();
        try (ZipFile zip = new ZipFile(jar)) {
            for (ZipEntry e : Collections.list(zip.entries())) {
                if (!e.getName().matches("common/message/[^/]*\\.json"))
                    continue;
                try (InputStream in = zip.getInputStream(e)) {
                    JsonNode node = MAPPER.readTree(in);
                    if (List.of("request", "response", "header").contains(text(node, "type")))
                        all.put(text(node, "name"), new Definitions().message(node));
                }
            }
        }
        return all;
    }

    /** Has the release this message in this version? */
    static boolean has(Map<String, Message> release, String name, int version) {
        return release.containsKey(name) && release.get(name).versions().has(version);
    }

    private static String text(JsonNode node, String name) {
        JsonNode value = node.get(name);
        return value == null ? null : value.asText();
    }

    private Message message(JsonNode node) {
        Range versions = Range.of(text(node, "validVersions"));
        collect(node);
        return new Message(text(node, "name"), text(node, "type"),
            node.has("apiKey") ? node.get("apiKey").asInt() : -1, versions,
            Range.of(text(node, "flexibleVersions")).cut(versions), fields(node.get("fields"), versions));
    }

    /** Structs may be used by name anywhere behind the place that spells them out. */
    private void collect(JsonNode node) {
        if (node.has("commonStructs"))
            for (JsonNode s : node.get("commonStructs")) {
                structs.put(text(s, "name"), s.get("fields"));
                collect(s);
            }
        if (node.has("fields"))
            for (JsonNode f : node.get("fields")) {
                if (f.has("fields"))
                    structs.put(text(f, "type").replace("[]", ""), f.get("fields"));
                collect(f);
            }
    }

    private List<Field> fields(JsonNode nodes, Range parent) {
        if (nodes == null)
            return List.of(); // of an API that is gone
        List<Field> list = new ArrayList<>();
        for (JsonNode node : nodes) {
            Range versions = Range.of(text(node, "versions")).cut(parent);
            if (versions.isEmpty())
                continue;
            String name = text(node, "name"), type = text(node, "type").replace("[]", "");
            JsonNode inner = node.has("fields") ? node.get("fields") : structs.get(type);
            Range tagged = Range.of(text(node, "taggedVersions")).cut(versions);
            list.add(new Field(Character.toLowerCase(name.charAt(0)) + name.substring(1),
                inner == null ? type : "struct", text(node, "type").startsWith("[]"), versions,
                Range.of(text(node, "nullableVersions")).cut(versions), tagged,
                tagged.isEmpty() ? -1 : node.get("tag").asInt(), text(node, "default"),
                node.path("ignorable").asBoolean(), inner == null ? List.of() : fields(inner, versions)));
        }
        return list;
    }
}
