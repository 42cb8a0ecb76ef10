// A conversation that draws, with the client that openapi-generator makes (docs/clients/java.yaml).
// Needs API_URL and API_KEY in the environment.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;
import robotchat.client.ApiClient;
import robotchat.client.ApiException;
import robotchat.client.api.ChatApi;
import robotchat.client.api.ChatApi.APIChatText2imageRequest;
import robotchat.client.api.JobsApi;
import robotchat.client.api.JobsApi.APIGetJobRequest;
import robotchat.client.model.ChatImageRequest;
import robotchat.client.model.JobStatus;
import robotchat.client.model.JobView;

public class GeneratedConversation {
    static JobView drawn(JobsApi jobs, JobView job) throws ApiException, InterruptedException {
        while (job.getStatus() == JobStatus.QUEUED || job.getStatus() == JobStatus.RUNNING) {
            Thread.sleep(300);
            job = jobs.getJob(APIGetJobRequest.newBuilder().jobId(job.getId()).build());
        }
        if (job.getStatus() != JobStatus.SUCCEEDED) {
            throw new IllegalStateException(job.getError().getCode() + ": " + job.getError().getMessage());
        }
        return job;
    }

    static JobView said(ChatApi chat, ChatImageRequest request) throws ApiException {
        return chat.chatText2image(
                APIChatText2imageRequest.newBuilder().chatImageRequest(request).build()).getJobView();
    }

    public static void main(String[] args) throws Exception {
        var client = new ApiClient();
        client.updateBaseUri(System.getenv("API_URL"));
        client.setRequestInterceptor(
                request -> request.header("Authorization", "Bearer " + System.getenv("API_KEY")));
        var chat = new ChatApi(client);
        var jobs = new JobsApi(client);

        var beach = drawn(jobs, said(chat, new ChatImageRequest().message("I want to see a photo of a beach")));
        var sunset = drawn(jobs, said(chat, new ChatImageRequest()
                .message("at sunset").conversationId(beach.getConversationId())));
        System.out.println(sunset.getPrompt());
        var out = Path.of(System.getenv().getOrDefault("OUT", "beach.png"));
        HttpClient.newHttpClient().send(
                HttpRequest.newBuilder(URI.create(sunset.getImages().get(0).getUrl())).build(),
                BodyHandlers.ofFile(out));
    }
}
