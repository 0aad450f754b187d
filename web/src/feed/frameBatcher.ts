// Batches items until the next animation frame, so that the page renders once for all of them. A hidden tab has no frames;
// there a batch ends with the current task.

export class FrameBatcher<T> {
  private pending: T[] = [];
  private frameRequested = false;

  constructor(private readonly onBatch: (items: T[]) => void) {}

  open(): void {
    document.addEventListener("visibilitychange", this.flush);
  }

  /** Drops the pending items. */
  close(): void {
    document.removeEventListener("visibilitychange", this.flush);
    this.pending = [];
  }

  add(item: T): void {
    this.pending.push(item);
    // A frame that was requested before the tab was hidden does not run until the tab is visible again.
    if (document.hidden) return queueMicrotask(this.flush);
    if (this.frameRequested) return;
    this.frameRequested = true;
    requestAnimationFrame(() => {
      this.frameRequested = false;
      this.flush();
    });
  }

  private flush = (): void => {
    const items = this.pending;
    if (items.length === 0) return;
    this.pending = [];
    this.onBatch(items);
  };
}
