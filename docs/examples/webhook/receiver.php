<?php
// Receives what robotchat tells of jobs: php -S 127.0.0.1:PORT receiver.php, with WEBHOOK_SECRET.
// The secret is what GET /v1/webhook-secret says. Signatures are those of Standard Webhooks.

const TOLERANCE = 300; // seconds; older messages may be somebody's who has recorded one

function verify(string $secret, string $id, string $timestamp, string $signatures, string $body): bool
{
    if (!ctype_digit($timestamp) || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $expected = base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $signatures) as $signature) { // several while a secret is being rotated
        if (hash_equals("v1,$expected", $signature)) {
            return true;
        }
    }
    return false;
}

$body = file_get_contents('php://input');
$good = verify(
    getenv('WEBHOOK_SECRET'),
    $_SERVER['HTTP_WEBHOOK_ID'] ?? '',
    $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '',
    $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '',
    $body,
);
http_response_code($good ? 204 : 400);
if ($good) {
    $event = json_decode($body, true);
    // The same event may come twice: its HTTP_WEBHOOK_ID is the same then. Remember it in earnest.
    file_put_contents('php://stdout', "{$event['type']} {$event['data']['id']}\n");
}
