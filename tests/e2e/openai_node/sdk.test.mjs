// The official OpenAI SDK for Node, unmodified, against the local stack; the language model is the
// scriptable stand-in (dev/llm), told what to do over its control API.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import OpenAI, { toFile } from "openai";

const client = new OpenAI({
  baseURL: `${process.env.API_URL}/v1`,
  apiKey: process.env.API_KEY,
  maxRetries: 0,
});
const model = "stand-in";
const mark = () => `mark-${randomUUID()}`;

async function control(path, body) {
  const answer = await fetch(`${process.env.LLM_URL}/_control/${path}`, {
    method: path.startsWith("wait") ? "GET" : "POST",
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: { "content-type": "application/json" },
  });
  assert.equal(answer.status, 200, `${path} answered ${answer.status}`);
  return answer.json();
}

const script = (fields) => control("script", fields);
const release = () => control("release", {});
const wait = (state, match) =>
  control(`wait?${new URLSearchParams({ state, match, timeout: "30" })}`);

async function collect(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

test("completions", async () => {
  const whole = await client.completions.create({ model, prompt: "Once" });
  assert.equal(whole.choices[0].text, " ...and so on after 'Once'.");
  const pieces = await collect(
    await client.completions.create({ model, prompt: "Once", stream: true }),
  );
  assert.equal(pieces.map((piece) => piece.choices[0].text).join(""), whole.choices[0].text);
});

test("chat completions", async () => {
  const answer = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: "hello there" }],
  });
  assert.equal(answer.choices[0].message.content, "You said: hello there");
  assert.equal(answer.usage.prompt_tokens, 2);
});

test("chunks arrive while the rest is not made yet", async () => {
  const word = mark();
  await script({ match: word, text: "One two three", stall_at: 2 });
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: word }],
    stream: true,
    stream_options: { include_usage: true },
  });
  const seen = [];
  let usage;
  for await (const chunk of stream) {
    usage = chunk.usage ?? usage;
    if (chunk.choices.length > 0) seen.push(chunk.choices[0].delta.content);
    if (seen.length === 2) {
      assert.deepEqual(seen, ["", "One"]);
      const stalled = await wait("stalled", word).catch(() => undefined);
      if (stalled !== undefined) {
        assert.equal(stalled.sent, 2);
        await release();
      }
    }
  }
  assert.deepEqual(seen.slice(2, 4), [" two", " three"]);
  assert.ok(usage.total_tokens > 0);
});

test("errors are the SDK's classes", async () => {
  const word = mark();
  const ask = () =>
    client.chat.completions.create({ model, messages: [{ role: "user", content: word }] });
  await script({ match: word, status: 400, error: { message: "no", code: "nope", param: "x" } });
  await assert.rejects(ask, (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.deepEqual([error.code, error.param], ["nope", "x"]);
    return true;
  });
  await script({ match: word, times: 2, status: 429, headers: { "retry-after": "60" } });
  await assert.rejects(ask, OpenAI.RateLimitError);
  await assert.rejects(() => client.models.retrieve("nope"), OpenAI.NotFoundError);
  await assert.rejects(() => client.responses.retrieve("resp_nope"), OpenAI.NotFoundError);
  const stranger = new OpenAI({ baseURL: client.baseURL, apiKey: "rk_wrong", maxRetries: 0 });
  await assert.rejects(() => stranger.models.list(), OpenAI.AuthenticationError);
});

test("a failure in mid-stream is an error of the stream", async () => {
  const word = mark();
  await script({ match: word, text: "One two three", cut_at: 2 });
  const stream = await client.chat.completions.create({
    model,
    messages: [{ role: "user", content: word }],
    stream: true,
  });
  await assert.rejects(() => collect(stream), OpenAI.APIError);
});

test("responses chain", async () => {
  const first = await client.responses.create({ model, input: "one" });
  assert.equal(first.output_text, "You said: one");
  const second = await client.responses.create({
    model,
    input: "two",
    previous_response_id: first.id,
  });
  assert.equal(second.usage.input_tokens, 5);
  const items = await client.responses.inputItems.list(second.id);
  assert.equal(items.data[0].content[0].text, "two");
  await client.responses.delete(first.id);
  await assert.rejects(() => client.responses.retrieve(first.id), OpenAI.NotFoundError);
});

test("response events come in order, and their text is stored", async () => {
  const word = mark();
  await script({ match: word, text: "One two three" });
  const events = await collect(
    await client.responses.create({ model, input: word, stream: true }),
  );
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, index) => index),
  );
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, "response.completed");
  const text = events
    .filter((event) => event.type === "response.output_text.delta")
    .map((event) => event.delta)
    .join("");
  const stored = await client.responses.retrieve(events.at(-1).response.id);
  assert.equal(stored.output_text, text);
});

test("the SDK's own accumulation of a streamed response", async () => {
  const stream = client.responses.stream({ model, input: "hello" });
  const final = await stream.finalResponse();
  assert.equal(final.output_text, "You said: hello");
});

test("functions are called", async () => {
  const word = mark();
  const tools = [{ type: "function", name: "weather", parameters: { type: "object" } }];
  await script({ match: word, tool_calls: [{ name: "weather", arguments: { city: "Rome" } }] });
  const first = await client.responses.create({ model, input: word, tools });
  const [call] = first.output;
  assert.equal(call.type, "function_call");
  assert.equal(JSON.parse(call.arguments).city, "Rome");
  const second = await client.responses.create({
    model,
    tools,
    previous_response_id: first.id,
    input: [{ type: "function_call_output", call_id: call.call_id, output: "sunny" }],
  });
  assert.equal(second.output_text, "You said: sunny");
});

test("background: poll, resume, cancel", async () => {
  const word = mark();
  await script({ match: word, text: "One two three", stall_at: 2 });
  const queued = await client.responses.create({ model, input: word, background: true });
  assert.ok(["queued", "in_progress"].includes(queued.status));
  await wait("stalled", word);
  await release();
  const all = await collect(await client.responses.retrieve(queued.id, { stream: true }));
  assert.equal(all.at(-1).type, "response.completed");
  const rest = await collect(
    await client.responses.retrieve(queued.id, { stream: true, starting_after: 4 }),
  );
  assert.deepEqual(rest, all.slice(5));
  assert.equal((await client.responses.retrieve(queued.id)).status, "completed");

  const other = mark();
  await script({ match: other, text: "One two three", stall_at: 2 });
  const running = await client.responses.create({ model, input: other, background: true });
  await wait("stalled", other);
  assert.equal((await client.responses.cancel(running.id)).status, "cancelled");
  await wait("closed", other);
});

test("a conversation takes one turn at a time", async () => {
  const word = mark();
  const conversation = (await client.conversations.create({})).id;
  await script({ match: word, text: "One two", stall_at: 2 });
  const stream = await client.responses.create({
    model,
    conversation,
    input: word,
    stream: true,
  });
  await wait("stalled", word);
  await assert.rejects(
    () => client.responses.create({ model, conversation, input: "x" }),
    OpenAI.ConflictError,
  );
  await release();
  await collect(stream);
  const next = await client.responses.create({ model, conversation, input: "then" });
  assert.equal(next.usage.input_tokens, 4);
});

test("conversations and their items", async () => {
  const word = mark();
  const begun = await client.conversations.create({
    metadata: { user: "42" },
    items: [{ type: "message", role: "user", content: "My name is Bob." }],
  });
  assert.equal(begun.object, "conversation");
  await client.responses.create({ model, conversation: begun.id, input: word });
  const added = await client.conversations.items.create(begun.id, {
    items: [{ type: "message", role: "user", content: "more" }],
  });
  const seen = [];
  for await (const item of client.conversations.items.list(begun.id, { limit: 3, order: "asc" })) {
    seen.push(item);
  }
  assert.deepEqual(
    seen.map((item) => item.content[0].text),
    ["My name is Bob.", word, `You said: ${word}`, "more"],
  );
  const [last] = added.data;
  const where = { conversation_id: begun.id };
  assert.deepEqual(await client.conversations.items.retrieve(last.id, where), last);
  await client.conversations.items.delete(last.id, where);
  await assert.rejects(
    () => client.conversations.items.retrieve(last.id, where),
    OpenAI.NotFoundError,
  );
  const changed = await client.conversations.update(begun.id, { metadata: { user: "43" } });
  assert.deepEqual(changed.metadata, { user: "43" });
  assert.deepEqual((await client.conversations.retrieve(begun.id)).metadata, { user: "43" });
  assert.equal((await client.conversations.delete(begun.id)).deleted, true);
  await assert.rejects(() => client.conversations.retrieve(begun.id), OpenAI.NotFoundError);
});

test("pictures are items of their conversation", async () => {
  const api = async (path, body) => {
    const answer = await fetch(`${process.env.API_URL}${path}`, {
      method: body === undefined ? "GET" : "POST",
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: { "x-api-key": process.env.API_KEY, "content-type": "application/json" },
    });
    assert.ok(answer.ok, `${path} answered ${answer.status}`);
    return answer.json();
  };
  const word = mark();
  await script({ match: word, text: JSON.stringify({ mode: "generate", prompt: "a beach" }) });
  const settings = { width: 64, height: 64 };
  const job = await api("/v1/chat/text2image", { message: word, settings });
  const events = await fetch(`${process.env.API_URL}/v1/jobs/${job.id}/events`, {
    headers: { "x-api-key": process.env.API_KEY },
  });
  await events.text(); // ends with the job
  const [picture] = (await client.conversations.items.list(job.conversation_id)).data;
  assert.equal(picture.type, "image_generation_call");
  assert.equal(picture.status, "completed");
  assert.equal(picture.job_id, job.id);
  const answer = await client.responses.create({
    model,
    conversation: job.conversation_id,
    input: "What is on it?",
  });
  assert.equal(answer.output_text, "You said: What is on it?");
});

test("a model draws, and the SDK's stream helper follows it", async () => {
  const word = mark();
  const drawing = (prompt, action) => ({ name: "image_generation", arguments: { prompt, action } });
  const tools = [{ type: "image_generation", size: "64x64", quality: "low", partial_images: 1 }];
  const draw = async (said, prompt, action, more) => {
    await script({ match: said, tool_calls: [drawing(prompt, action)] });
    await script({ match: said, text: "Here it is." });
    const stream = client.responses.stream({ model, input: said, tools, ...more });
    const kinds = (await collect(stream)).map((event) => event.type);
    assert.ok(kinds.includes("response.image_generation_call.completed"));
    const answer = await stream.finalResponse();
    assert.equal(answer.output_text, "Here it is.");
    const [picture] = answer.output.filter((item) => item.type === "image_generation_call");
    assert.equal(Buffer.from(picture.result, "base64").subarray(1, 4).toString(), "PNG");
    assert.equal(picture.revised_prompt, prompt);
    assert.equal(picture.action, action);
    return answer;
  };
  const cat = await draw(`${word} draw a cat`, "a cat", "generate");
  await draw(`${word} make it blue`, "a blue cat", "edit", { previous_response_id: cat.id });
});

test("images are drawn, streamed and changed within a mask", async () => {
  const png = (base64) =>
    assert.equal(Buffer.from(base64, "base64").subarray(1, 4).toString(), "PNG");
  const asked = { model: "gpt-image-1", prompt: "a beach", size: "64x64", quality: "low" };
  const drawn = await client.images.generate({ ...asked, n: 2 });
  for (const image of drawn.data) png(image.b64_json);
  const events = await collect(
    await client.images.generate({ ...asked, stream: true, partial_images: 1 }),
  );
  assert.equal(events.at(-1).type, "image_generation.completed");
  png(events.at(-1).b64_json);
  const file = (name) => toFile(Buffer.from(drawn.data[0].b64_json, "base64"), name);
  for (const image of [await file("beach.png"), [await file("beach.png")], await file("beach")]) {
    const changed = await client.images.edit({ ...asked, prompt: "at night", image });
    png(changed.data[0].b64_json);
  }
  await assert.rejects(
    client.images.edit({ ...asked, image: await file("a.png"), mask: await file("opaque.png") }),
    (error) => error instanceof OpenAI.BadRequestError && error.param === "mask",
  );
});

test("models", async () => {
  const models = await client.models.list();
  assert.deepEqual(
    models.data.map((found) => found.id),
    ["stand-in", "stand-in-mini"],
  );
});
