// The AI SDK's pictures: generateImage, and the provider's tool imageGeneration in a chat.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { generateImage, generateText, streamText } from "ai";

const openai = createOpenAI();
const png = (base64) => assert.equal(Buffer.from(base64, "base64").subarray(1, 4).toString(), "PNG");

const { images } = await generateImage({
  model: openai.image("gpt-image-1"), prompt: "a beach", size: "64x64", n: 2,
});
assert.equal(images.length, 2);
for (const image of images) png(image.base64);

const changed = await generateImage({
  model: openai.image("gpt-image-1"), size: "64x64",
  prompt: { text: "at night", images: [images[0].uint8Array] },
});
png(changed.image.base64);
assert.notEqual(changed.image.base64, images[0].base64);

const tools = { image_generation: openai.tools.imageGeneration({ quality: "low" }) };
const model = openai("stand-in");
const messages = [{ role: "user", content: `${process.env.MARK}-0 draw a cat` }];
const first = await generateText({ model, messages, tools });
assert.equal(first.text, "Here it is.");
png(first.staticToolResults[0].output.result);

messages.push(...first.response.messages, {
  role: "user", content: `${process.env.MARK}-1 make it blue`,
});
const second = await generateText({ model, messages, tools });
png(second.staticToolResults[0].output.result);

const streamed = streamText({
  model, tools: { image_generation: openai.tools.imageGeneration({ quality: "low", partialImages: 1 }) },
  prompt: "a red house", toolChoice: { type: "tool", toolName: "image_generation" },
});
const results = [];
for await (const part of streamed.fullStream) {
  assert.notEqual(part.type, "error", part.error);
  if (part.type === "tool-result" && !part.preliminary) results.push(part.output.result);
}
assert.equal(results.length, 1);
png(results[0]);
