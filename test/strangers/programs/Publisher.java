import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

/** Publishes three facts with the JDK's client as it comes: it prefers HTTP/2, and offers an upgrade to it. */
public class Publisher {
    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        for (int n = 1; n <= 3; n++) {
            var request = HttpRequest.newBuilder(URI.create(args[0] + "/api/events"))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofString("{\"type\":\"fact\",\"room\":\"a\",\"data\":" + n + "}"))
                .build();
            System.out.println(client.send(request, BodyHandlers.ofString()).statusCode());
        }
        System.out.println(client.send(HttpRequest.newBuilder(URI.create(args[0] + "/api/profile")).build(), BodyHandlers.ofString()).statusCode());
    }
}
