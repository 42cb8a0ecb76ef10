// A picture job by the queue, with the JDK alone: java Producer.java "a beach"
// Needs QUEUE_URL, TENANT, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, if
// there is one) in the environment to send, and API_URL and API_KEY to read what came of it. In a project, use
// the AWS SDK instead of post(): it signs requests as is done here by hand, and finds credentials by itself.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.HexFormat;
import java.util.TreeMap;
import java.util.UUID;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Producer {
    static final HttpClient HTTP = HttpClient.newHttpClient();

    static byte[] hmac(byte[] key, String text) throws Exception {
        var mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }

    static String sha256(String text) throws Exception {
        var digest = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        return HexFormat.of().formatHex(digest);
    }

    /** An action of SQS, in its JSON protocol, signed with AWS Signature Version 4. */
    static String post(String action, String body) throws Exception {
        var url = URI.create(System.getenv("QUEUE_URL"));
        var region = System.getenv("AWS_REGION");
        var moment = ZonedDateTime.now(ZoneOffset.UTC).format(DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'"));
        var day = moment.substring(0, 8);
        var headers = new TreeMap<String, String>();
        headers.put("content-type", "application/x-amz-json-1.0");
        headers.put("host", url.getAuthority());
        headers.put("x-amz-date", moment);
        headers.put("x-amz-target", "AmazonSQS." + action);
        if (System.getenv("AWS_SESSION_TOKEN") != null) {
            headers.put("x-amz-security-token", System.getenv("AWS_SESSION_TOKEN"));
        }
        var signed = String.join(";", headers.keySet());
        var lines = headers.entrySet().stream().map(h -> h.getKey() + ":" + h.getValue() + "\n");
        var request = "POST\n/\n\n" + lines.collect(Collectors.joining()) + "\n" + signed + "\n" + sha256(body);
        var scope = day + "/" + region + "/sqs/aws4_request";
        var text = "AWS4-HMAC-SHA256\n" + moment + "\n" + scope + "\n" + sha256(request);
        var key = ("AWS4" + System.getenv("AWS_SECRET_ACCESS_KEY")).getBytes(StandardCharsets.UTF_8);
        for (var part : scope.split("/")) {
            key = hmac(key, part);
        }
        var call = HttpRequest.newBuilder(url.resolve("/"))
                .header("Authorization", "AWS4-HMAC-SHA256 Credential=" + System.getenv("AWS_ACCESS_KEY_ID") + "/"
                        + scope + ", SignedHeaders=" + signed + ", Signature="
                        + HexFormat.of().formatHex(hmac(key, text)))
                .POST(HttpRequest.BodyPublishers.ofString(body));
        headers.forEach((name, value) -> {
            if (!name.equals("host")) {
                call.header(name, value);
            }
        });
        var answer = HTTP.send(call.build(), BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException(answer.statusCode() + " " + answer.body());
        }
        return answer.body();
    }

    static String quoted(String text) {
        return "\"" + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n") + "\"";
    }

    static String text(String json, String name) {
        var found = Pattern.compile("\"" + name + "\":\\s*\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
        return found.find() ? found.group(1) : null;
    }

    /** The status of a job; null while its message is still in the queue. */
    static String status(String id) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(System.getenv("API_URL") + "/v1/jobs/" + id))
                .header("Authorization", "Bearer " + System.getenv("API_KEY"))
                .build();
        var answer = HTTP.send(request, BodyHandlers.ofString());
        if (answer.statusCode() != 200 && answer.statusCode() != 404) {
            throw new IllegalStateException(answer.statusCode() + " " + answer.body());
        }
        return answer.statusCode() == 404 ? null : text(answer.body(), "status");
    }

    public static void main(String[] args) throws Exception {
        var words = args.length > 0 ? args[0] : "I want to see a photo of a beach";
        // The id is ours to choose, so that the job can be found, and so that a message sent twice is one job.
        var id = "job_" + UUID.randomUUID().toString().replace("-", "");
        var message = "{\"kind\": \"chat_text2image\", \"tenant\": " + quoted(System.getenv("TENANT"))
                + ", \"job_id\": " + quoted(id) + ", \"message\": " + quoted(words) + "}";
        post("SendMessage", "{\"QueueUrl\": " + quoted(System.getenv("QUEUE_URL")) + ", \"MessageBody\": "
                + quoted(message) + ", \"MessageGroupId\": " + quoted(System.getenv("TENANT")) + "}");
        System.out.println("sent " + id);
        var status = status(id);
        while (status == null || status.matches("queued|running")) {
            Thread.sleep(300);
            status = status(id);
        }
        System.out.println(status);
    }
}
