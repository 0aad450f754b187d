// Texts for the reasons that a session ends. The compiler checks that each language has every reason.

import type { Language } from "./index";

const en = {
  UserExit: "The user left",
  ClientDisconnected: "The client's connection broke",
  TabClosed: "The user closed the tab",
  ApiClosed: "Ended by its own user",
  TargetClosed: "The target closed it",
  TargetUnreachable: "The target could not be reached",
  AdminTerminated: "Ended by an administrator",
  IdleTimeout: "Idle for too long",
  MaxDuration: "Reached the maximum duration",
  NetworkLost: "The network was lost",
  AccessRevoked: "Access was revoked",
  RecordingFailed: "The recording failed",
  GatewayShutdown: "The gateway was shut down",
  GatewayLost: "The gateway was lost",
  Stale: "The gateway no longer had the session",
};

export type Reason = keyof typeof en;

const zh: Record<Reason, string> = {
  UserExit: "用户正常退出",
  ClientDisconnected: "SSH会话异常结束",
  TabClosed: "用户关闭标签页",
  ApiClosed: "用户自行结束",
  TargetClosed: "目标主机关闭连接",
  TargetUnreachable: "无法连接目标主机",
  AdminTerminated: "管理员终止",
  IdleTimeout: "空闲超时",
  MaxDuration: "达到最长时长",
  NetworkLost: "网络中断",
  AccessRevoked: "访问权限被撤销",
  RecordingFailed: "录像失败",
  GatewayShutdown: "网关关闭",
  GatewayLost: "网关失联",
  Stale: "网关上已无此会话",
};

export const REASONS: Record<Language, Record<Reason, string>> = { en, zh };

/** Whether the page knows this reason; a newer gateway may send others. */
export function isReason(name: string): name is Reason {
  return Object.hasOwn(en, name);
}
