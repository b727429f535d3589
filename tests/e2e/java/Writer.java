import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes to a topic and prints what came of it, tab separated: "ok what", "error class message".
 * usage: Writer plain PROPERTIES TOPIC COUNT PREFIX
 *        Writer transaction PROPERTIES TOPIC COUNT PREFIX commit|abort|leave
 *        Writer copy PROPERTIES TOPIC COUNT SOURCE CONSUMER_PROPERTIES
 * "leave" ends the process inside the transaction; "copy" reads COUNT records of SOURCE in a
 * group and writes them to TOPIC with the group's offsets in one transaction.
 */
public final class Writer {
    private Writer() {}

    public static void main(String[] args) throws Exception {
        int status = 0;
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(load(args[1]),
                new ByteArraySerializer(), new ByteArraySerializer())) {
            String topic = args[2];
            int count = Integer.parseInt(args[3]);
            switch (args[0]) {
                case "plain" -> {
                    send(producer, topic, count, args[4]);
                    line("ok", "sent");
                }
                case "transaction" -> transaction(producer, topic, count, args[4], args[5]);
                case "copy" -> copy(producer, topic, count, args[4], args[5]);
                default -> throw new IllegalArgumentException(args[0]);
            }
        } catch (ExecutionException error) {
            status = report(error.getCause());
        } catch (RuntimeException error) {
            status = report(error);
        }
        System.out.flush();
        System.exit(status);
    }

    private static Properties load(String file) throws java.io.IOException {
        Properties properties = new Properties();
        properties.load(Files.newBufferedReader(Path.of(file)));
        return properties;
    }

    private static void send(KafkaProducer<byte[], byte[]> producer, String topic, int count,
            String prefix) throws ExecutionException, InterruptedException {
        java.util.concurrent.Future<?> last = null;
        for (int i = 0; i < count; i++) {
            byte[] text = (prefix + i).getBytes(StandardCharsets.UTF_8);
            last = producer.send(new ProducerRecord<>(topic, text, text));
        }
        producer.flush();
        if (last != null) {
            last.get();
        }
    }

    private static void transaction(KafkaProducer<byte[], byte[]> producer, String topic,
            int count, String prefix, String end)
            throws ExecutionException, InterruptedException {
        producer.initTransactions();
        line("ok", "initialised");
        producer.beginTransaction();
        send(producer, topic, count, prefix);
        line("ok", "sent");
        switch (end) {
            case "commit" -> producer.commitTransaction();
            case "abort" -> producer.abortTransaction();
            case "leave" -> {
                System.out.flush();
                Runtime.getRuntime().halt(0);
            }
            default -> throw new IllegalArgumentException(end);
        }
        line("ok", end);
    }

    private static void copy(KafkaProducer<byte[], byte[]> producer, String topic, int count,
            String source, String consumerFile) throws Exception {
        producer.initTransactions();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(load(consumerFile),
                new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(source));
            int copied = 0;
            while (copied < count) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(200));
                if (records.isEmpty()) {
                    continue;
                }
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    producer.send(new ProducerRecord<>(topic, record.key(), record.value()));
                    offsets.put(new TopicPartition(record.topic(), record.partition()),
                            new OffsetAndMetadata(record.offset() + 1));
                    copied++;
                }
                producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                producer.commitTransaction();
            }
            line("ok", "copied", Integer.toString(copied));
        }
    }

    private static int report(Throwable error) {
        StringBuilder text = new StringBuilder();
        for (Throwable at = error; at != null; at = at.getCause()) {
            text.append(at == error ? "" : " <- ").append(at.getMessage());
        }
        line("error", error.getClass().getSimpleName(), text.toString().replaceAll("\\s+", " "));
        return 1;
    }

    private static void line(String... words) {
        System.out.println(String.join("\t", words));
    }
}
