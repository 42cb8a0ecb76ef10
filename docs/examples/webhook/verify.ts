// Verifies a webhook of robotchat (Standard Webhooks). `verify` is for your receiver; the rest tries it:
// node verify.js SECRET ID TIMESTAMP SIGNATURES < body
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const TOLERANCE = 300; // seconds

export function verify(
  secret: string, id: string, timestamp: string, signatures: string, body: Buffer,
): boolean {
  if (!/^[0-9]{1,12}$/.test(timestamp)) return false;
  if (Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE) return false;
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const signed = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const expected = Buffer.from(`v1,${signed.digest("base64")}`);
  return signatures.split(" ").some((signature) => { // several while a secret is being rotated
    const given = Buffer.from(signature);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}

const [secret, id, timestamp, signatures] = process.argv.slice(2);
if (signatures !== undefined) {
  console.log(verify(secret!, id!, timestamp!, signatures, readFileSync(0)) ? "valid" : "forged");
}
