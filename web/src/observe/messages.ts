// Messages of the page that observes a session, in English and Chinese.

import type { MessageKey, Translate } from "../i18n";

const en = {
  of: "{0} on {1}",
  toSession: "To the session",
  observing: "Read-only; {0} has been notified",
  connecting: "Connecting…",
  live: "Live",
  lost: "Reconnecting…",
  ended: "Ended",
  refused: "Not followed",
  retrying: "The connection was lost. Reconnecting automatically.",
  retryingBecause: "The session cannot be followed now: {0}. Reconnecting automatically.",
  endedBecause: "The session has ended: {0}",
  mayNot: "You may not follow sessions",
  signedOut: "You are not signed in",
  notFound: "There is no such session",
  alreadyOver: "This session has ended",
  fails: "The session cannot be followed",
  noTerminal: "There is no terminal yet",
  noTerminalHint: "It appears here as soon as the session opens one. File transfers and commands without a terminal show nothing.",
  terminals: "Terminals of the session",
  terminal: "Terminal {0}",
  closed: "closed",
  screen: "Screen of terminal {0}",
  skipped: "Some output was skipped, most recently at {0}: it came faster than it could be shown.",
};

type Key = keyof typeof en;

const zh: Record<Key, string> = {
  of: "{0}：{1}",
  toSession: "查看会话",
  observing: "只读观看：{0} 会收到提示",
  connecting: "正在连接…",
  live: "实时",
  lost: "正在重新连接…",
  ended: "已结束",
  refused: "未在观看",
  retrying: "连接已中断，正在自动重试。",
  retryingBecause: "暂时无法观看：{0}。正在自动重试。",
  endedBecause: "会话已结束：{0}",
  mayNot: "您无权观看会话",
  signedOut: "尚未登录",
  notFound: "没有这个会话",
  alreadyOver: "此会话已结束",
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
