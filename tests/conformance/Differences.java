import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The list of named differences, differences.txt: a line each, RELEASE WHAT PROPERTY OURS THEIRS, and
 * behind a # the reason. A line that names no difference any more is stale, and an error.
 */
final class Differences {
    private record Line(int number, String key) {
    }

    private final Map<String, Line> open = new LinkedHashMap<>();
    /** RELEASE and WHAT of the fields that bear another name there, with that name. */
    private final Map<String, String> names = new LinkedHashMap<>();

    Differences(String path) throws IOException {
        List<String> lines = Files.readAllLines(Path.of(path));
        for (int i = 0; i < lines.size(); i++) {
            if (lines.get(i).isBlank() || lines.get(i).startsWith("#"))
                continue;
            String[] halves = lines.get(i).split("\\s+#\\s*", 2);
            String[] words = halves[0].trim().split("\\s+");
            if (words.length != 5 || halves.length < 2 || halves[1].isBlank())
                throw new IOException(path + ":" + (i + 1) + ": RELEASE WHAT PROPERTY OURS THEIRS # REASON");
            String key = String.join(" ", words);
            if (open.put(key, new Line(i + 1, key)) != null)
                throw new IOException(path + ":" + (i + 1) + ": a second time");
            if (words[2].equals("name"))
                names.put(words[0] + " " + words[1], words[4]);
        }
    }

    /** The same list, with all of its lines open. */
    Differences(Differences other) {
        open.putAll(other.open);
        names.putAll(other.names);
    }

    /** What our field is called in that release. */
    String nameOf(String release, String what, String ours) {
        return names.getOrDefault(release + " " + what, ours);
    }

    /** And back: what a message or field of theirs, its path named as ours, is called with us. */
    String oursOf(String release, String what) {
        String path = what.substring(0, what.lastIndexOf('.') + 1), name = what.substring(path.length());
        for (Map.Entry<String, String> e : names.entrySet()) {
            String ours = e.getKey().substring(e.getKey().indexOf(' ') + 1);
            if (e.getKey().equals(release + " " + ours) && e.getValue().equals(name)
                && ours.substring(0, ours.lastIndexOf('.') + 1).equals(path))
                return ours.substring(path.length());
        }
        return name;
    }

    /** Has the release another name for anything in our message? */
    boolean renames(String release, String message) {
        return names.keySet().stream().anyMatch(k -> k.startsWith(release + " " + message + "."));
    }

    /** Does a line say that we leave out this version of the release's message? */
    boolean lacks(String release, String message, int version) {
        for (String key : open.keySet()) {
            String[] w = key.split(" ");
            if (w[0].equals(release) && w[1].equals(message) && w[2].equals("versions")
                && !Definitions.Range.of(w[3]).has(version))
                return true;
        }
        return false;
    }

    /** Is this difference on the list? It is then no longer stale. */
    boolean take(String release, String what, String property, String ours, String theirs) {
        return open.remove(String.join(" ", release, what, property, ours, theirs)) != null;
    }

    List<String> stale() {
        List<String> left = new ArrayList<>();
        for (Line l : open.values())
            left.add("line " + l.number + ": " + l.key);
        return left;
    }
}
