<?php
// A conversation that draws. Needs API_URL and API_KEY in the environment, and PHP's curl.

function robotchat(string $method, string $path, ?array $body = null): array
{
    $request = curl_init(getenv('API_URL') . $path);
    curl_setopt_array($request, [
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_HTTPHEADER => [
            'Authorization: Bearer ' . getenv('API_KEY'),
            'Content-Type: application/json',
        ],
    ]);
    if ($body !== null) {
        curl_setopt($request, CURLOPT_POSTFIELDS, json_encode($body));
    }
    $text = curl_exec($request);
    $status = curl_getinfo($request, CURLINFO_RESPONSE_CODE);
    $answer = json_decode((string) $text, true) ?? [];
    if ($status < 200 || $status >= 300) {
        throw new RuntimeException("$status " . ($answer['code'] ?? '') . ': ' . ($answer['detail'] ?? $text));
    }
    return $answer;
}

function drawn(array $job): array
{
    while (in_array($job['status'], ['queued', 'running'], true)) {
        usleep(300000);
        $job = robotchat('GET', $job['links']['self']);
    }
    if ($job['status'] !== 'succeeded') {
        throw new RuntimeException($job['error']['code'] . ': ' . $job['error']['message']);
    }
    return $job;
}

$first = drawn(robotchat('POST', '/v1/chat/text2image', ['message' => '我想看一张海滩的照片']));
$second = drawn(robotchat('POST', '/v1/chat/text2image', [
    'message' => '在夕阳下',
    'conversation_id' => $first['conversation_id'],
]));
echo $second['prompt'], "\n";
file_put_contents(getenv('OUT') ?: 'beach.png', file_get_contents($second['images'][0]['url']));
