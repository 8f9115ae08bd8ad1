// One model call with a plain SDK, as its own documentation shows it and with the environment as it is:
// `node call.mjs anthropic|responses|chat|gemini MODEL [stream]`. Prints what came back, or what was thrown, as JSON.
const [, , wire, model, stream] = process.argv;
const prompt = "Say good morning";

/** Joins the texts of a stream. */
async function joined(events, text) {
  let all = "";
  for await (const event of events) all += text(event) ?? "";
  return all;
}

const calls = {
  async anthropic() {
    const { default: Anthropic } = await import("@anthropic-ai/sdk");
    const request = { model, max_tokens: 1000, messages: [{ role: "user", content: prompt }] };
    const client = new Anthropic();
    if (stream) {
      return joined(await client.messages.create({ ...request, stream: true }), (event) => event.delta?.text);
    }
    return (await client.messages.create(request)).content[0].text;
  },
  async responses() {
    const { default: OpenAI } = await import("openai");
    const request = { model, max_output_tokens: 1000, input: prompt };
    const client = new OpenAI();
    if (!stream) return (await client.responses.create(request)).output_text;
    // A response that failed is an event like others to this SDK.
    return joined(await client.responses.create({ ...request, stream: true }), (event) => {
      if (event.type === "response.failed") throw new Error(event.response.error.message);
      return event.type === "response.output_text.delta" ? event.delta : "";
    });
  },
  async chat() {
    const { default: OpenAI } = await import("openai");
    const request = { model, max_completion_tokens: 1000, messages: [{ role: "user", content: prompt }] };
    const client = new OpenAI();
    if (stream) {
      const events = await client.chat.completions.create({ ...request, stream: true });
      return joined(events, (event) => event.choices[0]?.delta.content);
    }
    return (await client.chat.completions.create(request)).choices[0].message.content;
  },
  async gemini() {
    const { GoogleGenAI } = await import("@google/genai");
    const request = { model, contents: prompt, config: { maxOutputTokens: 1000 } };
    const client = new GoogleGenAI({});
    if (stream) return joined(await client.models.generateContentStream(request), (event) => event.text);
    return (await client.models.generateContent(request)).text;
  },
};

try {
  console.log(JSON.stringify({ text: await calls[wire]() }));
} catch (error) {
  console.log(JSON.stringify({ thrown: error.constructor.name, status: error.status, message: error.message }));
  process.exitCode = 1;
}
