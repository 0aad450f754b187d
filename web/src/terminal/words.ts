// The terminal's words, in English and Chinese.

import { type Language, useSay } from "../words";

const en = {
  label: "Terminal of {0}; Ctrl+Shift+F leads to the search",
  connecting: "Connecting…",
  live: "Live",
  over: "Ended: {0}",
  ended: "The session has ended: {0}",
  exit: "exit status {0}",
  refused: "There is no session",
  lost: "The connection was lost",
  unreachable: "The terminal could not be reached",
  left: "The page was left, and the session with it",
  again: "Press Enter to start a new session",
  newSession: "New session",
  sessionLink: "Session {0}, in a new tab",
  search: "Search",
  searchLabel: "Search what the terminal shows",
  next: "Next match",
  previous: "Previous match",
  matches: "{0} of {1}",
  manyMatches: "{0} matches",
  noMatch: "No match",
  close: "Close",
  reader: "Screen reader",
  files: "Files",
  filesOf: "Files on {0}",
  path: "Directory",
  open: "Open",
  up: "Up",
  refresh: "Refresh",
  upload: "Upload…",
  dropHere: "or drop files here",
  name: "Name",
  size: "Size",
  modified: "Modified",
  empty: "Nothing is in this directory.",
  loading: "Loading…",
  download: "Download {0}",
  transfers: "Transfers",
  waiting: "waiting",
  uploaded: "uploaded",
  downloaded: "downloaded",
  cancelled: "cancelled",
  exists: "is there already",
  cut: "the channel for files was closed",
  noSftp: "what the target answers is not SFTP; does a script print something at each login?",
  isFile: "{0} is a file, not a directory",
  noSuchFile: "there is nothing of that name",
  permissionDenied: "the target does not permit it",
  targetSays: "the target says: {0}",
  more: "{0} more are not shown",
  replace: "Replace",
  cancel: "Cancel",
  cancelOf: "Cancel {0}",
  replaceOf: "Replace {0}",
};

type Word = keyof typeof en;

const zh: Record<Word, string> = {
  label: "{0} 的终端；按 Ctrl+Shift+F 进入搜索",
  connecting: "正在连接…",
  live: "在线",
  over: "已结束：{0}",
  ended: "会话已结束：{0}",
  exit: "退出状态 {0}",
  refused: "未能建立会话",
  lost: "连接已中断",
  unreachable: "无法连接到终端",
  left: "已离开页面，会话随之结束",
  again: "按 Enter 开始新会话",
  newSession: "新会话",
  sessionLink: "会话 {0}（在新标签页中打开）",
  search: "搜索",
  searchLabel: "搜索终端内容",
  next: "下一个",
  previous: "上一个",
  matches: "第 {0} 个，共 {1} 个",
  manyMatches: "共 {0} 个",
  noMatch: "没有匹配",
  close: "关闭",
  reader: "屏幕阅读器",
  files: "文件",
  filesOf: "{0} 上的文件",
  path: "目录",
  open: "打开",
  up: "上一级",
  refresh: "刷新",
  upload: "上传…",
  dropHere: "或将文件拖放到此处",
  name: "名称",
  size: "大小",
  modified: "修改时间",
  empty: "此目录为空。",
  loading: "加载中…",
  download: "下载 {0}",
  transfers: "传输列表",
  waiting: "等待中",
  uploaded: "已上传",
  downloaded: "已下载",
  cancelled: "已取消",
  exists: "已存在",
  cut: "文件通道已关闭",
  noSftp: "目标服务器的应答不是 SFTP 协议；是否有登录脚本输出了内容？",
  isFile: "{0} 是文件，不是目录",
  noSuchFile: "没有该名称的文件或目录",
  permissionDenied: "目标服务器拒绝了访问",
  targetSays: "目标服务器返回：{0}",
  more: "还有 {0} 项未显示",
  replace: "替换",
  cancel: "取消",
  cancelOf: "取消 {0}",
  replaceOf: "替换 {0}",
};

export interface Words {
  (word: Word, ...values: (string | number)[]): string;
  language: Language;
  /** Why a session has ended. */
  reason: (reason: string | null) => string;
}

/** The terminal's words, and the page's of why a session ends. */
export function useWords(): Words {
  const { language, reason } = useSay();
  const words = { en, zh }[language];
  const say = (word: Word, ...values: (string | number)[]): string =>
    words[word].replace(/\{(\d)\}/g, (_, number) => String(values[Number(number)] ?? ""));
  return Object.assign(say, { language, reason });
}
