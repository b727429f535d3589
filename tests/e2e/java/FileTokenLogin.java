import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.auth.SaslExtensionsCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerTokenCallback;

/**
 * Logs in with the token that stands in a file at that moment, so that a re-authentication uses
 * whatever the test has put there since. Kafka's own file retriever reads the file only once.
 * The file is named by the JAAS option "file".
 */
public final class FileTokenLogin implements AuthenticateCallbackHandler {
    private static final Pattern NUMBER = Pattern.compile("\"(exp|iat)\"\\s*:\\s*(\\d+)");

    private Path file;

    @Override
    public void configure(Map<String, ?> configs, String mechanism,
            List<AppConfigurationEntry> jaas) {
        file = Path.of((String) jaas.get(0).getOptions().get("file"));
    }

    @Override
    public void handle(Callback[] callbacks) throws IOException, UnsupportedCallbackException {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerTokenCallback) {
                ((OAuthBearerTokenCallback) callback).token(new FileToken(
                        Files.readString(file, StandardCharsets.US_ASCII).trim()));
            } else if (!(callback instanceof SaslExtensionsCallback)) {
                throw new UnsupportedCallbackException(callback);
            }
        }
    }

    @Override
    public void close() {}

    private static final class FileToken implements OAuthBearerToken {
        private final String value;
        private final long issuedMs;
        private final long expiresMs;

        FileToken(String value) throws IOException {
            this.value = value;
            String[] parts = value.split("\\.");
            if (parts.length != 3) {
                throw new IOException("not a token: " + parts.length + " parts");
            }
            String claims = new String(Base64.getUrlDecoder().decode(parts[1]),
                    StandardCharsets.UTF_8);
            long issued = System.currentTimeMillis();
            long expires = issued + 3_600_000;
            Matcher numbers = NUMBER.matcher(claims);
            while (numbers.find()) {
                long ms = Long.parseLong(numbers.group(2)) * 1000;
                if (numbers.group(1).equals("exp")) {
                    expires = ms;
                } else {
                    issued = ms;
                }
            }
            this.issuedMs = issued;
            this.expiresMs = expires;
        }

        @Override
        public String value() {
            return value;
        }

        @Override
        public Set<String> scope() {
            return Set.of();
        }

        @Override
        public long lifetimeMs() {
            return expiresMs;
        }

        @Override
        public String principalName() {
            return "e2e";
        }

        @Override
        public Long startTimeMs() {
            return issuedMs;
        }
    }
}
