/** The page's words, in English and Chinese. */

const ENGLISH = {
  talk: "Talk and draw", jobs: "Jobs", operate: "Operate", reference: "API reference",
  skip: "Skip to the content", menu: "Menu", language: "中文", languageHint: "中文界面",
  dark: "Dark", light: "Light", leave: "Sign out", close: "Close", cancel: "Cancel", save: "Save",
  loading: "Loading …", nothing: "Nothing yet.", more: "Show more", copy: "Copy", copied: "Copied.",
  yes: "Yes", refused: "{message} ({code})", offline: "The service cannot be reached.",
  signIn: "Sign in", signInText: "Paste an API key of this service. It stays in this tab, and is sent in a header only.",
  apiKey: "API key", keyRefused: "This key is not valid.", tagline: "Words and pictures, from your own models.",

  newConversation: "New conversation", conversations: "Conversations", untitled: "Untitled",
  deleteConversation: "Delete this conversation", deleteConversationSure: "Delete this conversation and all its pictures?",
  delete: "Delete", you: "You", robot: "robotchat",
  welcome: "What shall we draw?",
  welcomeText: "Say it in your own words, in English or Chinese. Each message builds on the picture before.",
  example1: "I want to see a photo of a beach", example2: "a red house in the snow, watercolor", example3: "a cat on a sofa at night",
  mode: "What to do with the message", draw: "Draw", change: "Change the picture", say: "Talk",
  message: "Message", placeholderDraw: "Describe a picture, or what should be different …",
  placeholderChange: "What should change in the picture? …", placeholderSay: "Ask something …",
  send: "Send", stop: "Stop", attach: "Add a picture", attached: "The picture to change", remove: "Remove",
  uploading: "Uploading …", dropHere: "Drop the picture here", notImage: "This is not a picture.",
  noModel: "There is no language model: set OPENAI_BASE_URL to talk. Pictures need none.",
  buildingOn: "Building on turn {turn}", lastTurn: "Go on from the last turn",
  settings: "Settings", checkpoint: "Model", sampler: "Sampler", steps: "Steps", size: "Size", seed: "Seed",
  cfg: "Prompt strength (CFG)", strength: "Strength of the change", lora: "LoRA", loraWeight: "LoRA weight", negative: "Not in the picture",
  hostDefault: "As the host has it", serviceDefault: "As the service has it", random: "Random", none: "None", square: "Square", portrait: "Portrait", landscape: "Landscape",
  settingsText: "For the next picture. Later turns keep them.", languageModel: "Language model", reset: "Reset",
  turn: "Turn {turn}", prompt: "Prompt", writtenBy: "written by {who}", llm: "the language model", fallback: "rules", caller: "the caller", instruction: "the user, as an instruction",
  branch: "Branch from here", retry: "Try again", again: "Ask again", keepSeed: "Keep this seed", code: "As code", open: "Open the picture",
  codeTitle: "The same request", codeText: "The key is in the environment variable API_KEY.",
  codeQueue: "QUEUE_URL is an output of the stack. With make run it is queue_url in its stack.json, and the AWS CLI needs --endpoint-url as well: aws_endpoint_url there.",
  progress: "Progress", preview: "Preview of the drawing", image: "Picture: {prompt}", about: "about {seconds} s",
  position: "place {position} in the queue", seedKept: "The next picture has this seed.",
  thinking: "…", stopped: "Stopped.", gone: "The picture has expired.",

  queued: "Queued", running: "Drawing", succeeded: "Done", failed: "Failed", canceled: "Canceled", expired: "Expired",
  waiting_for_turn: "waits for the turn before", waiting_for_host: "waits for a host", backing_off: "will be tried again",
  no_host_has_model: "no host has the model",

  jobsText: "Every request for pictures, newest first. The table follows by itself.", status: "Status", all: "All", imageColumn: "Picture",
  request: "Request", made: "Made", time: "Time", actions: "Actions", details: "Details",
  deleteJobSure: "Delete this job and its pictures?", deleted: "Deleted.",
  phase_queued: "queue", phase_prompt: "prompt", phase_host_wait: "host", phase_run: "drawing", phase_store: "storing",
  attempt: "Attempt {attempt} of {most}", error: "Error", host: "Host", kind: "Kind", cost: "Work units", id: "Id", fields: "Fields",
  text2image: "Text to image", image2image: "Image to image", chat_text2image: "Conversation: picture", chat_image2image: "Conversation: change",
  deliveries: "Webhook deliveries", redeliver: "Send again", redelivered: "It is being sent again.", noDeliveries: "None: no webhook was told.",
  attempts: "Attempts", event: "Event", receiver: "Receiver", state: "State",
  required: "required", itsFields: "its fields", parameters: "Parameters", body: "Body", answers: "Answers", exampleOf: "Example",
  search: "Search", referenceText: "The key goes into a header: `Authorization: Bearer`, `x-api-key` or `api-key`, or as the password of Basic. Every answer has an `x-request-id`; every error has a stable `code` and says whether to try again (`retryable`).",
  pending: "pending", delivered: "delivered", disabled: "disabled",

  hosts: "Hosts", queues: "Queues", tenants: "Tenants", keys: "Keys", deadLetters: "Dead letters", service: "Service", ok: "OK", degraded: "Degraded",
  freeHosts: "free hosts", waitingJobs: "jobs waiting", oldestJob: "age of the oldest job", yesThere: "Configured",
  free: "free", busy: "busy", cooling_down: "cooling down", failures: "Failures", lastFailure: "Last failure",
  queue: "Queue", waiting: "Waiting", delayed: "Delayed", inWork: "In work",
  queue_requests: "Requests of producers", queue_jobs: "Jobs", queue_responses: "Responses in the background", queue_webhooks: "Webhook deliveries", queue_dead_letters: "Dead letters",
  tenant: "Tenant", activeJobs: "Active jobs", imagesToday: "Pictures today", stored: "Stored", costToday: "Work units today", models: "Models",
  keyName: "Note", life: "Valid for", scopes: "Scopes", createKey: "Make a key", forever: "no limit", days30: "30 days", days90: "90 days", days365: "a year", ends: "Ends",
  secretOnce: "The new key of {tenant}. It is shown only now:", rotate: "Rotate", revoke: "Revoke", valid: "valid", revoked: "revoked",
  rotateSure: "Make a new key in place of this one, which goes on working for a day?", revokeSure: "Revoke this key? It stops working within half a minute.",
  deadText: "Messages that no worker could read or finish.", lookDead: "Look", redrive: "Put back on the queue", redriveSure: "Put all dead letters back on the queue?",
  redriven: "{count} put back, {refused} refused.", sent: "Sent", received: "Received", job: "Job", why: "Why",
};

const CHINESE = {
  talk: "对话与绘图", jobs: "任务", operate: "运维", reference: "API 参考",
  skip: "跳到正文", menu: "菜单", language: "English", languageHint: "English interface",
  dark: "深色", light: "浅色", leave: "退出", close: "关闭", cancel: "取消", save: "保存",
  loading: "正在加载……", nothing: "暂无内容。", more: "显示更多", copy: "复制", copied: "已复制。",
  yes: "确定", refused: "{message}（{code}）", offline: "无法连接服务。",
  signIn: "登录", signInText: "请粘贴本服务的 API 密钥。密钥只保存在此标签页中，并且只通过请求头发送。",
  apiKey: "API 密钥", keyRefused: "此密钥无效。", tagline: "用你自己的模型对话和绘图。",

  newConversation: "新对话", conversations: "对话", untitled: "无标题",
  deleteConversation: "删除此对话", deleteConversationSure: "删除此对话及其全部图片？",
  delete: "删除", you: "你", robot: "robotchat",
  welcome: "想画点什么？",
  welcomeText: "用中文或英文描述即可。每条消息都在上一张图片的基础上继续。",
  example1: "我想看一张海滩的照片", example2: "雪地里的红色房子，水彩画", example3: "夜晚沙发上的一只猫",
  mode: "如何处理这条消息", draw: "绘图", change: "修改图片", say: "对话",
  message: "消息", placeholderDraw: "描述一张图片，或说明哪里要改……",
  placeholderChange: "图片要怎样修改？", placeholderSay: "想问什么？",
  send: "发送", stop: "停止", attach: "添加图片", attached: "要修改的图片", remove: "移除",
  uploading: "正在上传……", dropHere: "把图片拖到这里", notImage: "这不是图片。",
  noModel: "没有语言模型：设置 OPENAI_BASE_URL 后才能对话。绘图不需要。",
  buildingOn: "基于第 {turn} 轮", lastTurn: "从最后一轮继续",
  settings: "设置", checkpoint: "模型", sampler: "采样器", steps: "步数", size: "尺寸", seed: "种子",
  cfg: "提示词强度 (CFG)", strength: "修改强度", lora: "LoRA", loraWeight: "LoRA 权重", negative: "图中不要出现",
  hostDefault: "使用主机的默认值", serviceDefault: "使用服务的默认值", random: "随机", none: "无", square: "方形", portrait: "竖向", landscape: "横向",
  settingsText: "用于下一张图片，之后的轮次会沿用。", languageModel: "语言模型", reset: "重置",
  turn: "第 {turn} 轮", prompt: "提示词", writtenBy: "由{who}撰写", llm: "语言模型", fallback: "规则", caller: "调用方", instruction: "用户(作为指令)",
  branch: "从这里分支", retry: "重试", again: "重新提问", keepSeed: "沿用此种子", code: "查看代码", open: "打开图片",
  codeTitle: "同样的请求", codeText: "密钥取自环境变量 API_KEY。",
  codeQueue: "QUEUE_URL 是堆栈的输出。用 make run 时，它是 stack.json 中的 queue_url，AWS CLI 还需要 --endpoint-url，即其中的 aws_endpoint_url。",
  progress: "进度", preview: "绘制预览", image: "图片：{prompt}", about: "约 {seconds} 秒",
  position: "队列第 {position} 位", seedKept: "下一张图片将使用此种子。",
  thinking: "……", stopped: "已停止。", gone: "图片已过期。",

  queued: "排队中", running: "绘制中", succeeded: "已完成", failed: "失败", canceled: "已取消", expired: "已过期",
  waiting_for_turn: "等待上一轮", waiting_for_host: "等待主机", backing_off: "稍后重试",
  no_host_has_model: "没有主机拥有该模型",

  jobsText: "全部绘图请求，最新的在前。表格会自动更新。", status: "状态", all: "全部", imageColumn: "图片",
  request: "请求", made: "创建时间", time: "耗时", actions: "操作", details: "详情",
  deleteJobSure: "删除此任务及其图片？", deleted: "已删除。",
  phase_queued: "排队", phase_prompt: "提示词", phase_host_wait: "等主机", phase_run: "绘制", phase_store: "保存",
  attempt: "第 {attempt} 次尝试，共 {most} 次", error: "错误", host: "主机", kind: "类型", cost: "工作量", id: "编号", fields: "参数",
  text2image: "文生图", image2image: "图生图", chat_text2image: "对话：绘图", chat_image2image: "对话：修改",
  deliveries: "Webhook 投递", redeliver: "重新发送", redelivered: "正在重新发送。", noDeliveries: "没有：未通知任何 Webhook。",
  attempts: "尝试次数", event: "事件", receiver: "接收方", state: "状态",
  required: "必填", itsFields: "其字段", parameters: "参数", body: "请求体", answers: "响应", exampleOf: "示例",
  search: "搜索", referenceText: "密钥放在请求头中：`Authorization: Bearer`、`x-api-key` 或 `api-key`，也可作为 Basic 的密码。每个响应都有 `x-request-id`；每个错误都有稳定的 `code`，并说明是否可以重试（`retryable`）。",
  pending: "待发送", delivered: "已送达", disabled: "已停用",

  hosts: "主机", queues: "队列", tenants: "租户", keys: "密钥", deadLetters: "死信", service: "服务", ok: "正常", degraded: "降级",
  freeHosts: "空闲主机", waitingJobs: "等待中的任务", oldestJob: "最早任务的等待时间", yesThere: "已配置",
  free: "空闲", busy: "忙碌", cooling_down: "冷却中", failures: "失败次数", lastFailure: "最近一次失败",
  queue: "队列", waiting: "等待", delayed: "延迟", inWork: "处理中",
  queue_requests: "生产者的请求", queue_jobs: "任务", queue_responses: "后台响应", queue_webhooks: "Webhook 投递", queue_dead_letters: "死信",
  tenant: "租户", activeJobs: "活动任务", imagesToday: "今日图片", stored: "已存储", costToday: "今日工作量", models: "模型",
  keyName: "备注", life: "有效期", scopes: "权限范围", createKey: "创建密钥", forever: "永久", days30: "30 天", days90: "90 天", days365: "一年", ends: "到期",
  secretOnce: "{tenant} 的新密钥，只在此时显示：", rotate: "轮换", revoke: "吊销", valid: "有效", revoked: "已吊销",
  rotateSure: "创建新密钥代替此密钥？旧密钥还可使用一天。", revokeSure: "吊销此密钥？半分钟内失效。",
  deadText: "没有任何工作进程能读取或完成的消息。", lookDead: "查看", redrive: "放回队列", redriveSure: "把全部死信放回队列？",
  redriven: "已放回 {count} 条，被拒绝 {refused} 条。", sent: "发送时间", received: "接收次数", job: "任务", why: "原因",
};

const WORDS = { en: ENGLISH, zh: CHINESE };
const STORED = "robotchat.language";

export let language =
  localStorage.getItem(STORED) ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
if (!(language in WORDS)) language = "en";

export function speak(chosen) {
  language = chosen;
  localStorage.setItem(STORED, chosen);
}

/** The words of a name, with what belongs into their {places}; the name itself where there are none. */
export function t(name, values = {}) {
  const text = WORDS[language][name] ?? ENGLISH[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, place) => String(values[place] ?? ""));
}

export const locale = () => (language === "zh" ? "zh-CN" : "en-GB");

/** A moment, in the reader's own time. */
export function moment(text) {
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  return at.toLocaleString(locale(), today ? { timeStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" });
}

export const seconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;

export function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1024 && at < units.length - 1; at += 1) value /= 1024;
  return `${value >= 10 || at === 0 ? Math.round(value) : value.toFixed(1)} ${units[at]}`;
}
