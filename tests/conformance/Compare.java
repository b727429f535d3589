import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Holds the gate's schema, as `conform schema` prints its compiled tables, against the definitions
 * inside kafka-clients jars: every message, version range, field, type, nullability, default, tag
 * and the fields' order; and, of the newest release that has the field, the ignorable marks (they say
 * what a writer may drop where a version lacks it, so older ones say less). What differs stands
 * in the list, or fails; so does a line of the list that differs no more.
 *
 * Arguments: the schema's print, the list of differences, jars named kafka-clients-RELEASE.jar, the
 * oldest first. A case is one message of one release. Doctored.java holds it to noticing.
 */
public final class Compare {
    private static final class Ours {
        final String name;
        final Definitions.Range versions;
        final int flexible;
        final Map<String, String[]> fields = new LinkedHashMap<>();

        Ours(String[] w) {
            name = w[1];
            versions = new Definitions.Range(Integer.parseInt(w[2]), Integer.parseInt(w[3]));
            flexible = Integer.parseInt(w[4]);
        }
    }

    private final Map<String, Ours> ours = new TreeMap<>();
    private final Differences differences;
    private final Map<String, Map<String, Definitions.Message>> releases;
    /** What differs and stands in no list: RELEASE WHAT PROPERTY OURS THEIRS. */
    final List<String> reports = new ArrayList<>();
    private int passed;
    private int found;
    /** By field of ours: the newest release that has it, our mark, theirs. */
    private final Map<String, String[]> ignorable = new LinkedHashMap<>();

    Compare(List<String> print, Differences list, Map<String, Map<String, Definitions.Message>> jars) {
        differences = list;
        releases = jars;
        Ours message = null;
        for (String line : print) {
            String[] w = line.split("\t", -1);
            if (w[0].equals("message")) {
                message = new Ours(w);
                ours.put(message.name, message);
            } else {
                message.fields.put(w[1], w);
            }
        }
    }

    private void differ(String release, String what, String property, String own, String theirs) {
        found++;
        if (differences.take(release, what, property, own, theirs))
            return;
        reports.add(String.join(" ", release, what, property, own, theirs));
    }

    private void same(String release, String what, String property, Object own, Object theirs) {
        if (!own.toString().equals(theirs.toString()))
            differ(release, what, property, own.toString(), theirs.toString());
    }

    /** A default as `conform schema` prints ours. */
    private static String value(Definitions.Field f) {
        String v = f.value();
        if ("null".equals(v))
            return "null";
        if (f.array() || List.of("string", "bytes", "records", "struct", "uuid").contains(f.type()))
            return v == null || v.isEmpty() ? "-" : v;
        if (v == null || v.isEmpty() || v.equals("false"))
            return "0";
        return v.equals("true") ? "1" : Long.decode(v).toString();
    }

    private static Definitions.Range range(String min, String max) {
        Definitions.Range r = new Definitions.Range(Integer.parseInt(min), Integer.parseInt(max));
        return r.isEmpty() ? Definitions.Range.NONE : r;
    }

    /** path: ours. Both sides' fields are taken out of `left` as they are met. */
    private void fields(String release, Ours message, Definitions.Range common, String path,
                        List<Definitions.Field> theirs, Map<String, String[]> left) {
        int last = -1;
        List<String> order = new ArrayList<>(message.fields.keySet());
        for (Definitions.Field f : theirs) {
            Definitions.Range versions = f.versions().cut(common);
            if (versions.isEmpty())
                continue;
            String what = null;
            for (Map.Entry<String, String[]> e : left.entrySet()) {
                String p = e.getKey();
                boolean here = !range(e.getValue()[3], e.getValue()[4]).cut(common).isEmpty();
                if (here && p.startsWith(path) && p.indexOf('.', path.length()) < 0
                    && differences.nameOf(release, p, p.substring(path.length())).equals(f.name()))
                    what = p;
            }
            if (what == null) {
                differ(release, path + f.name(), "field", "none", versions.toString());
                continue;
            }
            String[] w = left.remove(what);
            same(release, what, "name", what.substring(path.length()), f.name());
            same(release, what, "type", w[2], (f.array() ? "[]" : "") + f.type());
            same(release, what, "versions", range(w[3], w[4]).cut(common), versions);
            same(release, what, "nullable", range(w[5], w[6]).cut(common), f.nullable().cut(common));
            same(release, what, "tagged", range(w[7], w[8]).cut(common), f.tagged().cut(common));
            if (!f.tagged().cut(common).isEmpty())
                same(release, what, "tag", w[9], f.tag());
            same(release, what, "default", w[10], value(f));
            ignorable.put(what, new String[] {release, w[11], f.ignorable() ? "1" : "0"});
            if (f.tagged().cut(common).isEmpty()) {
                if (order.indexOf(what) < last)
                    differ(release, what, "order", "earlier", "later");
                last = order.indexOf(what);
            }
            fields(release, message, common, what + ".", f.fields(), left);
        }
    }

    /** Our message of that name there, or null. */
    private Ours find(String release, String theirs) {
        for (Ours o : ours.values())
            if (differences.nameOf(release, o.name, o.name).equals(theirs))
                return o;
        return null;
    }

    private void message(String release, Definitions.Message m) {
        int before = reports.size();
        Ours o = find(release, m.name());
        if (o == null) {
            differ(release, m.name(), "message", "none", m.versions().toString());
        } else {
            same(release, o.name, "name", o.name, m.name());
            Definitions.Range common = m.versions().cut(o.versions);
            if (!common.equals(m.versions()))
                differ(release, o.name, "versions", o.versions.toString(), m.versions().toString());
            Definitions.Range flexible = new Definitions.Range(o.flexible, Short.MAX_VALUE).cut(common);
            same(release, o.name, "flexible", flexible, m.flexible().cut(common));
            Map<String, String[]> left = new LinkedHashMap<>(o.fields);
            fields(release, o, common, o.name + ".", m.fields(), left);
            for (Map.Entry<String, String[]> e : left.entrySet()) {
                Definitions.Range r = range(e.getValue()[3], e.getValue()[4]).cut(common);
                if (!r.isEmpty())
                    differ(release, e.getKey(), "field", r.toString(), "none");
            }
        }
        if (reports.size() == before)
            passed++;
    }

    /** Their message, unless it is a header, or gone. */
    void theirs(String release, Definitions.Message m) {
        if (m.key() >= 0 && !m.versions().isEmpty())
            message(release, m);
    }

    /** When the newest release has been seen. */
    void marks() {
        for (Map.Entry<String, String[]> e : ignorable.entrySet())
            same(e.getValue()[0], e.getKey(), "ignorable", e.getValue()[1], e.getValue()[2]);
    }

    /** Nothing of ours is without its like in some release, but for what the list names. */
    private void beyond() {
        for (Ours o : ours.values()) {
            List<Integer> more = new ArrayList<>();
            for (int v = o.versions.min(); v <= o.versions.max(); v++) {
                boolean has = false;
                for (Map<String, Definitions.Message> r : releases.values())
                    has |= Definitions.has(r, o.name, v);
                if (!has)
                    more.add(v);
            }
            if (!more.isEmpty())
                differ("all", o.name, "beyond",
                    new Definitions.Range(more.get(0), more.get(more.size() - 1)).toString(), "none");
        }
    }

    /** Definitions by release, in the order of the jars. */
    static Map<String, Map<String, Definitions.Message>> jars(List<String> paths) throws IOException {
        Map<String, Map<String, Definitions.Message>> all = new LinkedHashMap<>();
        for (String path : paths)
            all.put(path.replaceAll(".*kafka-clients-|\\.jar$", ""), Definitions.of(path));
        return all;
    }

    public static void main(String[] args) throws IOException {
        Compare c = new Compare(Files.readAllLines(Path.of(args[0])), new Differences(args[1]),
            jars(List.of(args).subList(2, args.length)));
        for (Map.Entry<String, Map<String, Definitions.Message>> r : c.releases.entrySet())
            for (Definitions.Message m : r.getValue().values())
                c.theirs(r.getKey(), m);
        c.marks();
        c.beyond();
        for (String s : c.differences.stale())
            c.reports.add("a stale difference, " + s);
        for (String s : c.reports)
            System.out.println("FAILED " + s);
        System.out.println("conformance, definitions of " + String.join(" and ", c.releases.keySet()) + ": "
            + c.passed + " passed, " + c.reports.size() + " failed (" + c.found + " differences met)");
        System.exit(c.reports.isEmpty() ? 0 : 1);
    }
}
