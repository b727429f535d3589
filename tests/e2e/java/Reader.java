import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HexFormat;
import java.util.List;
import java.util.Properties;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic and prints one line per event, tab separated:
 *   record partition offset timestamp key value headers    (hex; "-" is null; name=hex,name=hex)
 *   assigned partition,partition    revoked partition,partition    error class message    end count
 * usage: Reader PROPERTIES TOPIC MAX IDLE_MS [commit] [pattern] [quiet] [count]
 * A group.id in PROPERTIES subscribes; without one, all partitions are assigned and read from the
 * start. It ends after MAX records (0: any number) or IDLE_MS without one (0: never), or when its
 * standard input ends. "commit" commits after every poll, "pattern" takes TOPIC as a regular
 * expression, "quiet" prints no values, "count" no records. The property e2e.partitions names
 * those to assign.
 */
public final class Reader {
    private static final PrintStream OUT = new PrintStream(System.out, false,
            StandardCharsets.UTF_8);

    /** Until the first record: joining a group takes its time on a busy machine. */
    private static final long FIRST_MS = 20_000;

    private Reader() {}

    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.load(Files.newBufferedReader(Path.of(args[0])));
        long max = Long.parseLong(args[2]);
        long idleMs = Long.parseLong(args[3]);
        List<String> flags = List.of(args).subList(4, args.length);
        int status = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties,
                new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            Thread ender = new Thread(() -> {
                try {
                    while (System.in.read() >= 0) {
                        continue;
                    }
                } catch (java.io.IOException ended) {
                    // as good as the end of the input
                }
                consumer.wakeup();
            });
            ender.setDaemon(true);
            ender.start();
            start(consumer, properties, args[1], flags.contains("pattern"));
            try {
                long count = read(consumer, max, idleMs, flags);
                line("end", Long.toString(count));
            } catch (org.apache.kafka.common.errors.WakeupException asked) {
                line("end", "asked");
            } catch (RuntimeException error) {
                line("error", error.getClass().getSimpleName(), text(error));
                status = 1;
            }
        } catch (RuntimeException error) {
            line("error", error.getClass().getSimpleName(), text(error));
            status = 1;
        }
        OUT.flush();
        System.exit(status);
    }

    private static void start(KafkaConsumer<byte[], byte[]> consumer, Properties properties,
            String topic, boolean pattern) {
        if (properties.getProperty("group.id") == null) {
            List<TopicPartition> all = new ArrayList<>();
            String some = properties.getProperty("e2e.partitions");
            for (PartitionInfo info : consumer.partitionsFor(topic)) {
                if (some == null || List.of(some.split(",")).contains("" + info.partition())) {
                    all.add(new TopicPartition(topic, info.partition()));
                }
            }
            consumer.assign(all);
            consumer.seekToBeginning(all);
            return;
        }
        ConsumerRebalanceListener listener = new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                line("revoked", list(partitions));
            }

            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                line("assigned", list(partitions));
            }
        };
        if (pattern) {
            consumer.subscribe(Pattern.compile(topic), listener);
        } else {
            consumer.subscribe(List.of(topic), listener);
        }
    }

    private static long read(KafkaConsumer<byte[], byte[]> consumer, long max, long idleMs,
            List<String> flags) {
        long count = 0;
        long last = System.nanoTime();
        while (max == 0 || count < max) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
            for (ConsumerRecord<byte[], byte[]> record : records) {
                count++;
                if (!flags.contains("count")) {
                    print(record, flags.contains("quiet"));
                }
            }
            if (!records.isEmpty()) {
                last = System.nanoTime();
                OUT.flush();
                if (flags.contains("commit")) {
                    commit(consumer);
                }
            } else if (idleMs > 0 && System.nanoTime() - last
                    > (count > 0 ? idleMs : Math.max(idleMs, FIRST_MS)) * 1_000_000) {
                break;
            }
        }
        return count;
    }

    private static void commit(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            consumer.commitSync();
        } catch (RetriableException | org.apache.kafka.clients.consumer.CommitFailedException e) {
            line("uncommitted", e.getClass().getSimpleName(), text(e));
        }
    }

    private static void print(ConsumerRecord<byte[], byte[]> record, boolean quiet) {
        StringBuilder headers = new StringBuilder();
        for (Header header : record.headers()) {
            if (headers.length() > 0) {
                headers.append(',');
            }
            headers.append(header.key()).append('=').append(hex(header.value()));
        }
        line("record", Integer.toString(record.partition()), Long.toString(record.offset()),
                Long.toString(record.timestamp()), hex(record.key()),
                quiet ? "" : hex(record.value()), headers.toString());
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? "-" : HexFormat.of().formatHex(bytes);
    }

    private static String list(Collection<TopicPartition> partitions) {
        List<String> names = new ArrayList<>();
        partitions.stream().sorted((a, b) -> Integer.compare(a.partition(), b.partition()))
                .forEach(partition -> names.add(Integer.toString(partition.partition())));
        return String.join(",", names);
    }

    private static String text(Throwable error) {
        StringBuilder text = new StringBuilder();
        for (Throwable at = error; at != null; at = at.getCause()) {
            text.append(at == error ? "" : " <- ").append(at.getMessage());
        }
        return text.toString().replaceAll("\\s+", " ");
    }

    private static synchronized void line(String... words) {
        OUT.print(String.join("\t", words));
        OUT.print('\n');
        if (!words[0].equals("record")) {
            OUT.flush();
        }
    }
}
