/** A request in other languages: the same call, to be pasted into a program. */

import { newId } from "./api.js";

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const pretty = (body) => JSON.stringify(body, null, 2);

/** A value as Python writes it. */
function python(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((one) => python(one, deeper)).join(", ")}]`;
  if (typeof value === "object") {
    const fields = Object.entries(value).map(([n, v]) => `${deeper}${JSON.stringify(n)}: ${python(v, deeper)},\n`);
    return fields.length ? `{\n${fields.join("")}${indent}}` : "{}";
  }
  return JSON.stringify(value);
}

const inTextBlock = (text) => text.replaceAll("\\", "\\\\").replaceAll('"""', '\\"""');

/**
 * The samples for a request, as [name, text] each. The key is never part of them. `kind` and `tenant`
 * are for the message of a queue producer, which only what draws can be.
 */
export function samples({ url, path, body, kind, tenant }) {
  const json = pretty(body);
  const target = new URL(path.replace(/^\//, ""), url).href;
  const found = [
    [
      "curl",
      `curl -s ${quoted(target)} \\\n  -H "Authorization: Bearer $API_KEY" \\\n` +
        `  -H "Content-Type: application/json" \\\n  -d ${quoted(json)}\n`,
    ],
    [
      "PHP",
      `<?php\n$body = <<<'JSON'\n${json}\nJSON;\n\n$call = curl_init(${JSON.stringify(target)});\n` +
        `curl_setopt_array($call, [\n    CURLOPT_POSTFIELDS => $body,\n    CURLOPT_RETURNTRANSFER => true,\n` +
        `    CURLOPT_HTTPHEADER => [\n        'Authorization: Bearer ' . getenv('API_KEY'),\n` +
        `        'Content-Type: application/json',\n    ],\n]);\necho curl_exec($call);\n`,
    ],
    [
      "Java",
      `import java.net.URI;\nimport java.net.http.*;\n\npublic class Call {\n` +
        `    public static void main(String[] args) throws Exception {\n        String body = """\n` +
        `${inTextBlock(json).replace(/^/gm, "            ")}\n            """;\n` +
        `        HttpRequest request = HttpRequest.newBuilder(URI.create(${JSON.stringify(target)}))\n` +
        `            .header("Authorization", "Bearer " + System.getenv("API_KEY"))\n` +
        `            .header("Content-Type", "application/json")\n` +
        `            .POST(HttpRequest.BodyPublishers.ofString(body))\n            .build();\n` +
        `        HttpResponse<String> response = HttpClient.newHttpClient()\n` +
        `            .send(request, HttpResponse.BodyHandlers.ofString());\n` +
        `        System.out.println(response.body());\n    }\n}\n`,
    ],
    [
      "Python",
      `import json\nimport os\nfrom urllib.request import Request, urlopen\n\nbody = ${python(body)}\n` +
        `request = Request(\n    ${JSON.stringify(target)},\n    json.dumps(body).encode(),\n    {\n` +
        `        "Authorization": f"Bearer {os.environ['API_KEY']}",\n` +
        `        "Content-Type": "application/json",\n    },\n)\n` +
        `print(urlopen(request).read().decode())\n`,
    ],
  ];
  if (kind) {
    const message = pretty({ kind, tenant, job_id: `job_${newId()}`, ...body });
    found.push([
      "SQS",
      `aws sqs send-message --queue-url "$QUEUE_URL" \\\n  --message-group-id ${quoted(tenant)} \\\n` +
        `  --message-body ${quoted(message)}\n`,
    ]);
  }
  return found;
}
