// The AI SDK with its default provider, as its documentation has it: the Responses API, a tool, a
// second turn that refers to the items of the first, a stream, an object, embeddings.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const openai = createOpenAI();
const lookup = tool({
  description: "Look a word up.",
  inputSchema: z.object({ word: z.string() }),
  execute: async ({ word }) => `${word} is a fruit`,
});

for (const [number, model] of [openai("stand-in"), openai.chat("stand-in")].entries()) {
  const messages = [{ role: "user", content: `${process.env.MARK}-${number} what is a quince?` }];
  const first = await generateText({
    model, messages, tools: { lookup }, stopWhen: stepCountIs(3),
  });
  assert.equal(first.text, "A quince is a fruit.");
  assert.equal(first.steps.length, 2);

  messages.push(...first.response.messages, { role: "user", content: "and again?" });
  const second = await generateText({ model, messages, tools: { lookup } });
  assert.equal(second.text, "You said: and again?");

  const streamed = streamText({ model, prompt: "one two three" });
  let text = "";
  for await (const piece of streamed.textStream) text += piece;
  assert.equal(text, "You said: one two three");
  assert.equal(await streamed.finishReason, "stop");

  const { output } = await generateText({
    model,
    prompt: "a fruit",
    output: Output.object({ schema: z.object({ name: z.string(), seeds: z.number() }) }),
  });
  assert.deepEqual(output, { name: "text", seeds: 1 });
}

const { embeddings } = await embedMany({
  model: openai.embedding("stand-in"), values: ["a", "bbb"],
});
assert.deepEqual(embeddings, [[1, 1], [3, 1]]);
