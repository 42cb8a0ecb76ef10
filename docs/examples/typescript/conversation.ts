// A conversation that draws, with the client that openapi-generator makes into ./client
// (docs/clients/typescript.yaml). Needs API_URL and API_KEY in the environment.
import { writeFile } from "node:fs/promises";
import { ChatApi, Configuration, JobsApi, type JobView } from "./client/src/index.js";

const config = new Configuration({
  basePath: process.env.API_URL!,
  accessToken: process.env.API_KEY!,
});
const chat = new ChatApi(config);
const jobs = new JobsApi(config);

async function draw(message: string, conversation_id?: string): Promise<JobView> {
  const answer = await chat.chatText2image({ chatImageRequest: { message, conversation_id } });
  if (answer.object !== "job") throw new Error("a dry run draws nothing");
  let job: JobView = answer;
  while (job.status === "queued" || job.status === "running") {
    await new Promise((wake) => setTimeout(wake, 300));
    job = await jobs.getJob({ jobId: job.id });
  }
  if (job.status !== "succeeded") throw new Error(`${job.error?.code}: ${job.error?.message}`);
  return job;
}

const beach = await draw("I want to see a photo of a beach");
const sunset = await draw("at sunset", beach.conversation_id ?? undefined);
console.log(sunset.prompt);
const picture = await fetch(sunset.images[0]!.url!);
await writeFile(process.env.OUT ?? "beach.png", Buffer.from(await picture.arrayBuffer()));
