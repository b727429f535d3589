import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourcePatternFilter;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Asks for ACLs as a connector's Kafka data plane does: an admin client of its own for each request,
 * and three bindings for a transfer: READ and DESCRIBE on the topic by its name, READ on groups by
 * their prefix, any host; taken away again by filters that equal them.
 *
 * usage: Acls PROPERTIES, and on standard input one tab separated line each:
 *   create SUBJECT TOPIC PREFIX    delete SUBJECT TOPIC PREFIX    describe SUBJECT
 * Each is answered by one line: "ok" with the number of bindings, or "error" with class and message.
 */
public final class Acls {
    private static final long TIMEOUT_S = 30;
    private static final PrintStream OUT = new PrintStream(System.out, true,
            StandardCharsets.UTF_8);

    private Acls() {}

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.load(Files.newBufferedReader(Path.of(args[0])));
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in,
                StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split("\t");
            try (Admin admin = Admin.create(properties)) {
                OUT.println("ok\t" + ask(admin, words));
            } catch (ExecutionException error) {
                OUT.println("error\t" + error.getCause().getClass().getSimpleName() + "\t"
                        + error.getCause().getMessage());
            }
        }
    }

    private static int ask(Admin admin, String[] words) throws Exception {
        if (words[0].equals("describe")) {
            AclBindingFilter of = new AclBindingFilter(
                    ResourcePatternFilter.ANY, new AccessControlEntryFilter(
                            "User:" + words[1], null, AclOperation.ANY, AclPermissionType.ANY));
            return admin.describeAcls(of).values().get(TIMEOUT_S, TimeUnit.SECONDS).size();
        }
        List<AclBinding> bindings = bindings("User:" + words[1], words[2], words[3]);
        if (words[0].equals("create")) {
            admin.createAcls(bindings).all().get(TIMEOUT_S, TimeUnit.SECONDS);
            return bindings.size();
        }
        List<AclBindingFilter> filters = bindings.stream().map(AclBinding::toFilter).toList();
        return admin.deleteAcls(filters).all().get(TIMEOUT_S, TimeUnit.SECONDS).size();
    }

    private static List<AclBinding> bindings(String principal, String topic, String prefix) {
        ResourcePattern byName = new ResourcePattern(ResourceType.TOPIC, topic,
                PatternType.LITERAL);
        ResourcePattern byPrefix = new ResourcePattern(ResourceType.GROUP, prefix,
                PatternType.PREFIXED);
        return List.of(new AclBinding(byName, allow(principal, AclOperation.READ)),
                new AclBinding(byName, allow(principal, AclOperation.DESCRIBE)),
                new AclBinding(byPrefix, allow(principal, AclOperation.READ)));
    }

    private static AccessControlEntry allow(String principal, AclOperation operation) {
        return new AccessControlEntry(principal, "*", operation, AclPermissionType.ALLOW);
    }
}
