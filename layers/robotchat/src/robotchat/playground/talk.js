/** Talk and draw: a conversation of words and pictures. */

import { address, call, events, newId, upload } from "./api.js";
import { button, confirmed, dialog, fill, h, icon, notify } from "./dom.js";
import { moment, t } from "./i18n.js";
import { Card } from "./card.js";
import * as settings from "./settings.js";
import { samples } from "./snippets.js";

const MODES = ["draw", "change", "say"];
const PLACEHOLDERS = { draw: "placeholderDraw", change: "placeholderChange", say: "placeholderSay" };

/** What is shown, kept while other views are. `entries` are {kind: user | said | job, ...}. */
const state = { id: null, title: "", entries: [], mode: "draw", after: null, attached: null, speaking: null, model: true, draft: "" };

export async function talk(main, context) {
  const view = new View(main, context);
  view.draw();
  await view.refresh();
}

class View {
  constructor(main, { session, signal, report }) {
    Object.assign(this, { main, session, signal, report });
    this.cards = new Map();
  }

  draw() {
    this.list = h("ul", { class: "conversations" });
    this.log = h("div", { class: "log", role: "log", "aria-label": t("talk"), tabindex: "0", on: { scroll: () => this.scrolled() } });
    this.log.addEventListener("load", () => this.down(), true); // a picture has no height until then
    this.panel = h("div", { class: "fields" }, h("p", { class: "quiet" }, t("loading")));
    this.field = h("textarea", {
      id: "message", rows: 2, maxlength: 4000, "aria-label": t("message"), value: state.draft,
      on: {
        input: () => (state.draft = this.field.value),
        keydown: (event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            this.submit();
          }
        },
        paste: (event) => this.take(event.clipboardData.files, event),
      },
    });
    this.file = h("input", { type: "file", accept: "image/*", hidden: true, id: "file", tabindex: "-1", "aria-hidden": "true",
      on: { change: () => (this.take(this.file.files), (this.file.value = "")) } });
    this.chips = h("div", { class: "chips" });
    this.modes = h("fieldset", { class: "modes" });
    this.go = h("div");
    const composer = h("form", { class: "composer", on: { submit: (event) => (event.preventDefault(), this.submit()) } },
      this.modes, this.chips, this.field,
      h("div", { class: "row between" },
        h("div", { class: "row" }, button("image", t("attach"), () => this.file.click(), { action: "attach" }), this.file,
          button("settings", t("settings"), () => this.toggle("settings"), { action: "settings", kind: "only-narrow" })),
        this.go));
    const named = (name) => h("div", { class: "row between" }, h("h2", {}, t(name)),
      button("close", t("close"), () => this.toggle(null), { bare: true, kind: "only-narrow", action: `close-${name}` }));
    const aside = h("aside", { class: "left", "aria-label": t("conversations") },
      button("plus", t("newConversation"), () => this.begin(), { action: "new", kind: "wide" }),
      named("conversations"), this.list);
    const right = h("aside", { class: "right", "aria-label": t("settings") }, named("settings"), this.panel);
    this.head = h("div", { class: "head" });
    this.asides = { conversations: aside, settings: right };
    fill(this.main, aside, h("section", { class: "center" }, this.head, this.log, composer, h("div", { class: "drop", "aria-hidden": "true" }, icon("image"), t("dropHere"))), right);
    this.droppable();
    this.heading();
    this.choose(state.mode);
    this.chipped();
    this.entries();
  }

  toggle(name) {
    for (const [one, element] of Object.entries(this.asides)) element.classList.toggle("open", one === name && !element.classList.contains("open"));
  }

  async refresh() {
    const { signal } = this;
    settings.panel().then((fields) => signal.aborted || fill(this.panel, fields), this.report);
    call("/health").then((health) => {
      state.model = health.language_model;
      if (!signal.aborted) this.choose(state.mode);
    }, this.report);
    await this.conversations();
  }

  async conversations() {
    try {
      const { data } = await call("/v1/conversations?limit=30", { signal: this.signal });
      fill(this.list, data.length ? data.map((one) => this.listed(one)) : h("li", { class: "quiet" }, t("nothing")));
    } catch (error) {
      this.report(error);
    }
  }

  listed(conversation) {
    const current = conversation.id === state.id;
    return h("li", { class: current ? "current" : "" },
      h("button", { type: "button", class: "link", "aria-current": current ? "true" : null, "data-action": `open-${conversation.id}`, on: { click: () => this.load(conversation) } },
        h("span", {}, conversation.title || t("untitled")),
        h("small", {}, moment(conversation.updated_at * 1000))),
      button("trash", t("deleteConversation"), () => this.remove(conversation), { bare: true, action: `delete-${conversation.id}` }));
  }

  heading() {
    const branch = state.after;
    fill(this.head,
      button("menu", t("conversations"), () => this.toggle("conversations"), { bare: true, kind: "only-narrow", action: "show-conversations" }),
      h("h1", {}, state.title || t(state.id ? "untitled" : "newConversation")),
      branch && h("span", { class: "badge" }, t("buildingOn", { turn: branch })));
  }

  begin() {
    state.speaking?.abort();
    Object.assign(state, { id: null, title: "", entries: [], after: null });
    this.attach(null);
    this.afresh();
    this.field.focus();
    this.conversations();
  }

  afresh() {
    this.toggle(null);
    this.cards.clear();
    this.heading();
    this.chipped();
    this.entries();
  }

  async load(conversation) {
    state.speaking?.abort();
    try {
      const [items, jobs] = await Promise.all([
        call(`/v1/conversations/${conversation.id}/items?order=asc&limit=100`),
        call(`/v1/jobs?conversation_id=${conversation.id}&limit=100`),
      ]);
      const byId = new Map(jobs.data.map((job) => [job.id, job]));
      const entries = entriesOf(items.data, byId);
      Object.assign(state, { id: conversation.id, title: conversation.title, entries, after: null });
      this.afresh();
      this.conversations();
    } catch (error) {
      this.report(error);
    }
  }

  async remove(conversation) {
    if (!(await confirmed(t("deleteConversationSure"), t("delete"), t("cancel")))) return;
    try {
      await call(`/v1/conversations/${conversation.id}`, { method: "DELETE" });
      if (conversation.id === state.id) this.begin();
      else await this.conversations();
    } catch (error) {
      this.report(error);
    }
  }

  // What was said and drawn

  entries() {
    const shown = state.entries.map((entry) => this.entry(entry));
    fill(this.log, shown.length ? shown : this.welcome());
    this.down(true);
  }

  welcome() {
    const example = (name) => h("button", {
      type: "button", class: "button", "data-action": name,
      on: { click: () => ((this.field.value = state.draft = t(name)), this.choose("draw"), this.field.focus()) },
    }, t(name));
    return h("div", { class: "welcome" }, h("h2", {}, t("welcome")), h("p", { class: "quiet" }, t("welcomeText")),
      h("div", { class: "row wrap center" }, ["example1", "example2", "example3"].map(example)));
  }

  add(entry) {
    if (!state.entries.length) fill(this.log);
    state.entries.push(entry);
    this.log.append(this.entry(entry));
    this.down(true);
    return entry;
  }

  /** Keeps the end in sight, unless the reader has scrolled away from it. */
  down(always = false) {
    if (always) this.atEnd = true;
    if (this.atEnd) this.log.scrollTop = this.log.scrollHeight;
    this.height = this.log.scrollHeight;
  }

  scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    // What grew or shrank moves the view too: only where nothing did was it the reader.
    if (scrollHeight === this.height) this.atEnd = scrollHeight - scrollTop - clientHeight < 160;
    this.height = scrollHeight;
  }

  entry(entry) {
    if (entry.kind === "user") {
      return h("article", { class: "entry user" }, h("h2", { class: "sr" }, t("you")),
        entry.image && h("img", { src: entry.image, alt: t("attached"), class: "thumb" }), h("p", {}, entry.text));
    }
    if (entry.kind === "said") {
      const text = h("p", {}, entry.text || t("thinking"));
      const article = h("article", { class: "entry robot", "aria-busy": entry.busy ? "true" : null }, h("h2", { class: "sr" }, t("robot")), text,
        h("div", { class: "row wrap" }, entry.request && button("code", t("code"), () => this.request(entry.request), { action: "code" })));
      entry.tell = () => {
        text.textContent = entry.text || t("thinking");
        text.classList.toggle("problem", Boolean(entry.failed));
        if (!entry.busy) article.removeAttribute("aria-busy");
        this.down();
      };
      return article;
    }
    const card = new Card(entry.job, {
      signal: this.signal, report: this.report, actions: (job) => this.actions(job, entry),
      changed: (job) => {
        entry.job = job;
        this.down();
      },
    });
    this.cards.set(entry.job.id, card);
    card.follow();
    return h("div", { class: "entry robot" }, h("h2", { class: "sr" }, t("robot")), card.element);
  }

  actions(job, entry) {
    const [image] = job.images;
    const request = entry.request ?? requestOf(job);
    return [
      job.images.length && button("branch", t("branch"), () => this.branch(job.turn), { action: "branch" }),
      image?.seed != null && button("seed", t("keepSeed"), () => (settings.keepSeed(image.seed), notify(t("seedKept"))), { action: "keep-seed" }),
      !job.images.length && job.message && button("retry", t("again"), () => ((this.field.value = state.draft = job.message), this.field.focus()), { action: "again" }),
      button("code", t("code"), () => this.request(request), { action: "code" }),
    ];
  }

  branch(turn) {
    state.after = turn;
    if (state.mode === "say") this.choose("draw");
    this.heading();
    this.chipped();
    this.field.focus();
  }

  /** The same request in other languages. */
  request({ path, body, kind }) {
    const found = samples({ url: address("/"), path, body, kind, tenant: this.session.tenant });
    const text = h("pre", { tabindex: "0", id: "sample", role: "tabpanel" });
    const tabs = found.map(([name, sample]) => h("button", {
      type: "button", role: "tab", class: "tab", "aria-controls": "sample", "data-action": `sample-${name}`,
      on: { click: () => show(name, sample) },
    }, name));
    let now = "";
    const show = (name, sample) => {
      now = sample;
      text.textContent = sample;
      text.setAttribute("aria-label", name);
      for (const tab of tabs) {
        const chosen = tab.textContent === name;
        tab.setAttribute("aria-selected", String(chosen));
        tab.tabIndex = chosen ? 0 : -1;
      }
    };
    const move = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const at = (tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length;
      tabs[at].click();
      tabs[at].focus();
    };
    const copy = async () => {
      await navigator.clipboard.writeText(now);
      notify(t("copied"));
    };
    dialog(t("codeTitle"), t("close"),
      h("div", { role: "tablist", class: "tabs", "aria-label": t("codeTitle"), on: { keydown: move } }, tabs), text,
      h("p", { class: "quiet small" }, t("codeText"), kind ? ` ${t("codeQueue")}` : null),
      h("div", { class: "row end" }, button("copy", t("copy"), () => copy().catch(this.report), { action: "copy" })));
    show(...found[0]);
  }

  // The composer

  choose(mode) {
    state.mode = mode === "say" && !state.model ? "draw" : mode;
    const option = (name) => h("label", { class: "mode", title: name === "say" && !state.model ? t("noModel") : null },
      h("input", { type: "radio", name: "mode", value: name, checked: name === state.mode, disabled: name === "say" && !state.model,
        "data-action": `mode-${name}`, on: { change: () => this.choose(name) } }), h("span", {}, t(name)));
    fill(this.modes, h("legend", { class: "sr" }, t("mode")), MODES.map(option),
      state.model ? null : h("span", { class: "quiet small" }, t("noModel")));
    this.field.placeholder = t(PLACEHOLDERS[state.mode]);
    this.ready();
  }

  ready() {
    fill(this.go, state.speaking
      ? button("stop", t("stop"), () => state.speaking?.abort(), { kind: "primary", action: "stop" })
      : h("button", { type: "submit", class: "button primary", "data-action": "send" }, icon("send"), h("span", {}, t("send"))));
  }

  chipped() {
    fill(this.chips,
      state.after && h("span", { class: "chip" }, icon("branch"), t("buildingOn", { turn: state.after }),
        button("close", t("lastTurn"), () => ((state.after = null), this.heading(), this.chipped()), { bare: true, action: "unbranch" })),
      state.attached && h("span", { class: "chip" }, h("img", { src: state.attached.url, alt: t("attached"), class: "tiny" }), state.attached.name,
        button("close", t("remove"), () => this.attach(null), { bare: true, action: "unattach" })));
  }

  attach(file) {
    state.attached = file && { file, name: file.name || t("attached"), url: URL.createObjectURL(file) };
    if (file) this.choose("change");
    this.chipped();
  }

  take(files, event) {
    const [file] = files;
    if (!file) return;
    event?.preventDefault();
    if (file.type.startsWith("image/")) this.attach(file);
    else notify(t("notImage"), "bad");
  }

  droppable() {
    const over = (is) => this.main.classList.toggle("dropping", is);
    const options = { signal: this.signal };
    this.main.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      over(true);
    }, options);
    this.main.addEventListener("dragleave", (event) => this.main.contains(event.relatedTarget) || over(false), options);
    this.main.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      this.take(event.dataTransfer.files);
    }, options);
  }

  async submit() {
    const message = this.field.value.trim();
    if (!message || state.speaking || this.sending) return;
    this.sending = true;
    try {
      if (state.mode === "say") await this.say(message);
      else await this.ask(message);
    } catch (error) {
      this.report(error);
    } finally {
      this.sending = false;
    }
  }

  sent() {
    this.field.value = state.draft = "";
    this.field.focus();
  }

  async ask(message) {
    const changing = state.mode === "change";
    const attached = changing ? state.attached : null;
    const before = state.entries.findLast((entry) => entry.job?.prompt)?.job.prompt;
    const body = { message: settings.withLora(message, before) };
    if (state.id) body.conversation_id = state.id;
    if (state.after) body.after_turn = state.after;
    if (attached) {
      notify(t("uploading"));
      body.image = await upload(attached.file);
    }
    const fields = settings.drawing({ changing });
    if (Object.keys(fields).length) body.settings = fields;
    const path = changing ? "/v1/chat/image2image" : "/v1/chat/text2image";
    const job = await call(path, { method: "POST", body, headers: { "Idempotency-Key": newId() } });
    this.arrived(job.conversation_id, message);
    state.after = null;
    state.attached = null;
    this.heading();
    this.chipped();
    this.add({ kind: "user", text: message, image: attached?.url });
    this.add({ kind: "job", job, request: { path, body, kind: job.kind } });
    this.sent();
  }

  arrived(id, message) {
    const fresh = state.id !== id;
    state.id = id;
    state.title ||= message.slice(0, 80);
    this.heading();
    if (fresh) this.conversations();
  }

  async say(message) {
    if (!state.id) this.arrived((await call("/v1/conversations", { method: "POST", body: {} })).id, message);
    const body = { input: message, conversation: state.id, stream: true };
    const model = settings.languageModel();
    if (model) body.model = model;
    this.add({ kind: "user", text: message });
    const entry = this.add({ kind: "said", text: "", busy: true, request: { path: "/v1/responses", body } });
    this.sent();
    state.speaking = new AbortController();
    this.ready();
    try {
      for await (const { data } of events("/v1/responses", { method: "POST", body, signal: state.speaking.signal })) {
        if (data.type === "response.output_text.delta") entry.text += data.delta;
        else if (data.type === "response.failed") throw new Error(data.response.error?.message ?? t("failed"));
        else if (data.type === "error") throw new Error(data.message ?? data.error?.message ?? t("failed"));
        else continue;
        entry.tell();
      }
    } catch (error) {
      if (error.name === "AbortError") entry.text += ` ${t("stopped")}`;
      else {
        entry.failed = true;
        entry.text += ` ${error.message}`;
      }
    } finally {
      entry.busy = false;
      state.speaking = null;
      entry.tell();
      if (!this.signal.aborted) this.ready();
    }
  }
}

const textOf = (item) => (typeof item.content === "string" ? item.content : (item.content ?? []).map((part) => part.text ?? part.refusal ?? "").join(""));

/** What is shown of the items of a conversation. The reply of a turn that drew stands in its job. */
function entriesOf(items, jobs) {
  const cards = new Set(items.filter((item) => jobs.has(item.job_id)).map((item) => item.id.slice("ig_".length)));
  return items.map((item) => {
    if (cards.has(/^msg_(.+)_reply$/.exec(item.id)?.[1])) return null;
    if (item.type === "image_generation_call") return jobs.has(item.job_id) ? { kind: "job", job: jobs.get(item.job_id) } : null;
    return item.type === "message" ? { kind: item.role === "user" ? "user" : "said", text: textOf(item) } : null;
  }).filter(Boolean);
}

/** The request that made a job, as far as it is known later. */
function requestOf(job) {
  const { kind, message, conversation_id: conversation, request } = job;
  const changing = kind.endsWith("image2image");
  const body = { message };
  if (conversation) body.conversation_id = conversation;
  const fields = Object.fromEntries(["steps", "width", "height", "seed", "sampler_name"].filter((name) => request[name] !== undefined).map((name) => [name, request[name]]));
  if (Object.keys(fields).length) body.settings = fields;
  return { kind, path: changing ? "/v1/chat/image2image" : "/v1/chat/text2image", body };
}

