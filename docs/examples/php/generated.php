<?php
// A conversation that draws, with the client that openapi-generator makes (docs/clients/php.yaml).
// Needs API_URL and API_KEY in the environment, and the autoloader of Composer, which finds
// robotchat/client and guzzlehttp/guzzle.
require getenv('AUTOLOAD') ?: 'vendor/autoload.php';

use Robotchat\Client\Api\ChatApi;
use Robotchat\Client\Api\JobsApi;
use Robotchat\Client\Configuration;
use Robotchat\Client\Model\ChatImageRequest;

$config = (new Configuration())
    ->setHost(getenv('API_URL'))
    ->setAccessToken(getenv('API_KEY'));
$chat = new ChatApi(config: $config);
$jobs = new JobsApi(config: $config);

function drawn(JobsApi $jobs, string $id)
{
    do {
        usleep(300000);
        $job = $jobs->getJob($id);
    } while (in_array($job->getStatus(), ['queued', 'running'], true));
    if ($job->getStatus() !== 'succeeded') {
        throw new RuntimeException($job->getError()->getCode() . ': ' . $job->getError()->getMessage());
    }
    return $job;
}

// What may be a job or a quote (`dry_run`) comes as it is on the wire.
$first = $chat->chatText2image(new ChatImageRequest(['message' => 'I want to see a photo of a beach']));
$beach = drawn($jobs, $first->id);
$second = $chat->chatText2image(new ChatImageRequest([
    'message' => 'at sunset',
    'conversation_id' => $beach->getConversationId(),
]));
$sunset = drawn($jobs, $second->id);
echo $sunset->getPrompt(), "\n";
file_put_contents(getenv('OUT') ?: 'beach.png', file_get_contents($sunset->getImages()[0]->getUrl()));
