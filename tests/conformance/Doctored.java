import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Can the comparison fail? Every property of every field and message of the gate's schema is doctored
 * in its print, one at a time, and Compare must name it. Arguments are those of Compare. A case is one
 * change.
 */
public final class Doctored {
    /** Columns of a field's line. */
    private static final int PATH = 1, TYPE = 2, MIN = 3, MAX = 4, NULL_MIN = 5, NULL_MAX = 6, TAGGED_MIN = 7,
        TAGGED_MAX = 8, TAG = 9, VALUE = 10, IGNORABLE = 11;

    private final Differences list;
    private final Map<String, Map<String, Definitions.Message>> releases;
    private List<String> honest;
    private int passed;
    private int failed;

    private Doctored(Differences list, Map<String, Map<String, Definitions.Message>> releases) {
        this.list = list;
        this.releases = releases;
    }

    private List<String> reports(List<String> print) {
        Compare c = new Compare(print, new Differences(list), releases);
        String name = print.get(0).split("\t")[1];
        for (Map.Entry<String, Map<String, Definitions.Message>> r : releases.entrySet()) {
            String theirs = list.nameOf(r.getKey(), name, name);
            if (r.getValue().containsKey(theirs))
                c.theirs(r.getKey(), r.getValue().get(theirs));
        }
        c.marks();
        return c.reports;
    }

    /** The print of one message with another line at that place; null: none. */
    private void doctor(int at, String line, String... properties) {
        List<String> print = new ArrayList<>(honest);
        if (line == null)
            print.remove(at);
        else
            print.set(at, line);
        judge(print, honest.get(at).split("\t")[PATH], properties);
    }

    private void judge(List<String> print, String what, String... properties) {
        for (String report : reports(print))
            for (String property : properties)
                if (report.contains(" " + what + " " + property + " ")) {
                    passed++;
                    return;
                }
        failed++;
        print.removeAll(honest);
        System.out.println("FAILED nobody notices " + what + " " + String.join(" or ", properties) + ": " + print);
    }

    /** Two that follow each other on the wire, the other way round. */
    private void swap(int at, String[] w) {
        if (at + 1 == honest.size())
            return;
        String[] next = honest.get(at + 1).split("\t", -1);
        boolean siblings = w[PATH].substring(0, w[PATH].lastIndexOf('.'))
            .equals(next[PATH].substring(0, next[PATH].lastIndexOf('.')));
        boolean leaf = at + 2 == honest.size() || !honest.get(at + 2).split("\t")[PATH].startsWith(next[PATH] + ".");
        boolean meet = Math.max(number(w, MIN), number(next, MIN)) <= Math.min(number(w, MAX), number(next, MAX));
        if (!siblings || !leaf || !meet || number(w, TAG) >= 0 || number(next, TAG) >= 0)
            return;
        List<String> print = new ArrayList<>(honest);
        print.set(at, honest.get(at + 1));
        print.set(at + 1, honest.get(at));
        judge(print, next[PATH], "order");
    }

    private void add(String message, int newest) {
        List<String> print = new ArrayList<>(honest);
        print.add(String.join("\t", "field", message + ".invented", "int32", "0", "" + newest, "1", "0", "1", "0", "-1",
            "0", "0"));
        judge(print, message + ".invented", "field");
    }

    private static String with(String[] columns, Object... changes) {
        String[] w = columns.clone();
        for (int i = 0; i < changes.length; i += 2)
            w[(Integer) changes[i]] = changes[i + 1].toString();
        return String.join("\t", w);
    }

    private static int number(String[] w, int column) {
        return Integer.parseInt(w[column]);
    }

    private void range(int at, String[] w, int min, int max, String property) {
        if (number(w, min) > number(w, max)) {
            doctor(at, with(w, min, w[MIN], max, w[MAX]), property);
            return;
        }
        doctor(at, with(w, min, 1, max, 0), property);
        doctor(at, with(w, min, number(w, min) + 1), property);
    }

    private void field(int at, String[] w, int newest) {
        boolean array = w[TYPE].startsWith("[]");
        String type = w[TYPE].replace("[]", "");
        doctor(at, null, "field");
        doctor(at, with(w, TYPE, (array ? "[]" : "") + (type.equals("int32") ? "int64" : "int32")), "type");
        doctor(at, with(w, TYPE, array ? type : "[]" + type), "type");
        doctor(at, with(w, MIN, number(w, MIN) + 1), "versions", "field");
        doctor(at, with(w, MAX, number(w, MAX) < newest ? number(w, MAX) + 1 : newest - 1), "versions", "field");
        range(at, w, NULL_MIN, NULL_MAX, "nullable");
        range(at, w, TAGGED_MIN, TAGGED_MAX, "tagged");
        if (number(w, TAGGED_MIN) <= number(w, TAGGED_MAX))
            doctor(at, with(w, TAG, number(w, TAG) + 1), "tag");
        doctor(at, with(w, VALUE, w[VALUE].equals("7") ? "8" : "7"), "default");
        doctor(at, with(w, IGNORABLE, w[IGNORABLE].equals("1") ? "0" : "1"), "ignorable");
    }

    private void message(List<String> print) {
        honest = print;
        String[] w = print.get(0).split("\t", -1);
        int min = number(w, 2), max = number(w, 3), flexible = number(w, 4);
        if (min < max)
            doctor(0, with(w, 3, max - 1), "versions");
        if (min < max)
            doctor(0, with(w, 2, min + 1), "versions");
        doctor(0, with(w, 4, flexible > max ? max : flexible + 1), "flexible");
        add(w[PATH], max);
        for (int i = 1; i < print.size(); i++)
            swap(i, print.get(i).split("\t", -1));
        for (int i = 1; i < print.size(); i++)
            field(i, print.get(i).split("\t", -1), max);
    }

    public static void main(String[] args) throws IOException {
        Doctored d = new Doctored(new Differences(args[1]), Compare.jars(List.of(args).subList(2, args.length)));
        List<String> print = new ArrayList<>();
        for (String line : Files.readAllLines(Path.of(args[0]))) {
            if (line.startsWith("message\t") && !print.isEmpty()) {
                d.message(print);
                print = new ArrayList<>();
            }
            print.add(line);
        }
        d.message(print);
        System.out.println("conformance, doctored definitions that were noticed: " + d.passed + " passed, " + d.failed
            + " failed");
        System.exit(d.failed == 0 ? 0 : 1);
    }
}
