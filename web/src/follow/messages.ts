// Messages of the page that observes a session, in English and Chinese.

import type { MessageKey, Translate } from "../i18n";

const en = {
  of: "{0} on {1}",
  toSession: "To the session",
  watching: "Watching, read-only: {0} is told so",
  connecting: "Connecting…",
  live: "Live",
  lost: "Reconnecting…",
  over: "Ended",
  refused: "Not followed",
  trying: "The connection was lost. It is tried again by itself.",
  tryingWhy: "It cannot be followed just now: {0}. It is tried again by itself.",
  ended: "The session has ended: {0}",
  mayNot: "You may not follow sessions",
  unknown: "Nobody is signed in",
  gone: "There is no such session",
  overAlready: "This session has ended",
  fails: "The session cannot be followed",
  noTerminal: "There is no terminal yet",
  noTerminalHint: "It is shown here as soon as the session opens one. Files and commands without a terminal show nothing.",
  terminals: "Terminals of the session",
  terminal: "Terminal {0}",
  closed: "closed",
  screen: "What terminal {0} shows",
  skipped: "Some output was left out, the last at {0}: it came faster than it could be shown.",
};

type Key = keyof typeof en;

const zh: Record<Key, string> = {
  of: "{0}：{1}",
  toSession: "查看会话",
  watching: "只读观看：{0} 会收到提示",
  connecting: "正在连接…",
  live: "实时",
  lost: "正在重新连接…",
  over: "已结束",
  refused: "未在观看",
  trying: "连接已中断，正在自动重试。",
  tryingWhy: "暂时无法观看：{0}。正在自动重试。",
  ended: "会话已结束：{0}",
  mayNot: "您无权观看会话",
  unknown: "尚未登录",
  gone: "没有这个会话",
  overAlready: "此会话已结束",
  fails: "无法观看此会话",
  noTerminal: "还没有终端",
  noTerminalHint: "会话打开终端后会立即显示在这里。文件传输和不带终端的命令没有可显示的内容。",
  terminals: "会话的终端",
  terminal: "终端 {0}",
  closed: "已关闭",
  screen: "终端 {0} 显示的内容",
  skipped: "部分输出来得太快，未能显示，最近一次在 {0}。",
};

export const messages = { en, zh };
export type ObserveTranslate = Translate<MessageKey | Key>;
