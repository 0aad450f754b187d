// The queue of uploads and downloads.

import { FileExistsError, type TransferOptions } from "../sftp/transfer";

type TransferOutcome =
  | { state: "waiting" }
  | { state: "running" }
  | { state: "done" }
  | { state: "exists" }
  | { state: "cancelled" }
  | { state: "failed"; error: unknown };

/** An upload or a download. */
export interface Transfer {
  id: number;
  name: string;
  /** To the target (up), or from it (down). */
  direction: "up" | "down";
  /** The size of the file in bytes, at the start of the transfer. */
  size: number;
  transferredBytes: number;
  outcome: TransferOutcome;
}

/** Transfers a file. If the file exists and `overwrite` is not set, throws a `FileExistsError`. */
export type RunTransfer = (options: TransferOptions & { overwrite: boolean }) => Promise<void>;

export const MAX_CONCURRENT = 3;

export class TransferQueue {
  private transfers: readonly Transfer[] = [];
  private readonly jobs = new Map<number, { run: RunTransfer; overwrite: boolean }>();
  private readonly running = new Map<number, AbortController>();
  private readonly listeners = new Set<() => void>();
  private lastId = 0;

  snapshot = (): readonly Transfer[] => this.transfers;

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  add(direction: Transfer["direction"], name: string, size: number, run: RunTransfer): void {
    const id = ++this.lastId;
    this.jobs.set(id, { run, overwrite: false });
    this.change([...this.transfers, { id, name, direction, size, transferredBytes: 0, outcome: { state: "waiting" } }]);
  }

  /** Repeats a transfer, and overwrites the existing file. */
  replace(id: number): void {
    const job = this.jobs.get(id);
    if (!job) return;
    job.overwrite = true;
    this.update(id, { outcome: { state: "waiting" }, transferredBytes: 0 });
  }

  cancel(id: number): void {
    this.update(id, { outcome: { state: "cancelled" } });
    this.running.get(id)?.abort();
  }

  /** Whether a transfer is waiting or running. */
  isBusy(): boolean {
    return this.transfers.some(({ outcome }) => outcome.state === "waiting" || outcome.state === "running");
  }

  private update(id: number, change: Partial<Transfer>): void {
    this.change(this.transfers.map((transfer) => (transfer.id === id ? { ...transfer, ...change } : transfer)));
  }

  private change(transfers: readonly Transfer[]): void {
    this.transfers = transfers;
    const next = transfers.find(({ outcome }) => outcome.state === "waiting");
    if (next && this.running.size < MAX_CONCURRENT) void this.run(next.id);
    else for (const listener of this.listeners) listener();
  }

  private async run(id: number): Promise<void> {
    const job = this.jobs.get(id);
    if (!job) return;
    const controller = new AbortController();
    this.running.set(id, controller);
    this.update(id, { outcome: { state: "running" } });
    const onProgress = (bytes: number): void => {
      const before = this.transfers.find((transfer) => transfer.id === id)?.transferredBytes ?? 0;
      this.update(id, { transferredBytes: before + bytes });
    };
    let result: TransferOutcome = { state: "done" };
    try {
      await job.run({ overwrite: job.overwrite, signal: controller.signal, onProgress });
    } catch (error) {
      result = error instanceof FileExistsError ? { state: "exists" } : { state: "failed", error };
    }
    this.running.delete(id);
    this.update(id, controller.signal.aborted ? {} : { outcome: result });
  }
}
