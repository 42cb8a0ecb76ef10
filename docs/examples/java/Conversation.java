// A conversation that draws, with the JDK alone: java Conversation.java
// Needs API_URL and API_KEY in the environment. In a project, use your JSON library instead of text().
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import java.util.regex.Pattern;

public class Conversation {
    static final HttpClient HTTP = HttpClient.newHttpClient();

    static String call(String method, String path, String body) throws Exception {
        var publisher = body == null
                ? HttpRequest.BodyPublishers.noBody()
                : HttpRequest.BodyPublishers.ofString(body);
        var request = HttpRequest.newBuilder(URI.create(System.getenv("API_URL") + path))
                .header("Authorization", "Bearer " + System.getenv("API_KEY"))
                .header("Content-Type", "application/json")
                .method(method, publisher)
                .build();
        var answer = HTTP.send(request, BodyHandlers.ofString());
        if (answer.statusCode() / 100 != 2) {
            throw new IllegalStateException(answer.statusCode() + " " + answer.body());
        }
        return answer.body();
    }

    static String text(String json, String name) {
        var found = Pattern.compile("\"" + name + "\":\\s*\"((?:[^\"\\\\]|\\\\.)*)\"").matcher(json);
        return found.find() ? found.group(1) : null;
    }

    static String drawn(String job) throws Exception {
        while (text(job, "status").matches("queued|running")) {
            Thread.sleep(300);
            job = call("GET", "/v1/jobs/" + text(job, "id"), null);
        }
        if (!text(job, "status").equals("succeeded")) {
            throw new IllegalStateException(job);
        }
        return job;
    }

    public static void main(String[] args) throws Exception {
        var first = drawn(call("POST", "/v1/chat/text2image",
                "{\"message\": \"I want to see a photo of a beach\"}"));
        var second = drawn(call("POST", "/v1/chat/text2image",
                "{\"message\": \"at sunset\", \"conversation_id\": \"" + text(first, "conversation_id") + "\"}"));
        System.out.println(text(second, "prompt"));
        var out = Path.of(System.getenv().getOrDefault("OUT", "beach.png"));
        HTTP.send(HttpRequest.newBuilder(URI.create(text(second, "url"))).build(), BodyHandlers.ofFile(out));
    }
}
