import { ServerConnection } from '@jupyterlab/services';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';

import { fetchGrants, IAnswer } from './api';
import { IGrant, level } from './grant';
import { IGrants, IProblem } from './tokens';

const POLL_MS = 5_000;
/** After failures the poll slows down to this. */
const POLL_SLOWEST_MS = 60_000;
const TICK_MS = 1_000;

/** What `Grants` is made from. */
export interface IGrantsOptions {
  readonly serverSettings: ServerConnection.ISettings;
  /** How the server is asked; tests hand in their own. */
  readonly fetch?: (settings: ServerConnection.ISettings) => Promise<IAnswer>;
}

/** Polls the server extension; nothing runs while the page is hidden or after `dispose()`. */
export class Grants implements IGrants {
  constructor(options: IGrantsOptions) {
    this._fetch = () => (options.fetch ?? fetchGrants)(options.serverSettings);
    this._poll = new Poll<void, unknown>({
      name: 'jupyter-aisec:grants',
      factory: () => this._ask(),
      frequency: { interval: POLL_MS, backoff: true, max: POLL_SLOWEST_MS },
      standby: 'when-hidden'
    });
    this._tick = setInterval(() => this._onTick(), TICK_MS);
  }

  get grants(): readonly IGrant[] {
    return this._grants;
  }

  get problem(): IProblem | null {
    return this._problem;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get ending(): ISignal<this, IGrant> {
    return this._ending;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  now(): number {
    return Date.now() + this._skew;
  }

  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    clearInterval(this._tick);
    this._poll.dispose();
    Signal.clearData(this);
  }

  private async _ask(): Promise<void> {
    let answer: IAnswer;
    try {
      answer = await this._fetch();
    } catch (reason) {
      this._problem = {
        code: 'server-unreachable',
        what: 'The Jupyter server does not answer.',
        next: 'Check that it runs and that its extension is on: jupyter server extension list'
      };
      this._changed.emit();
      throw reason; // so that the poll backs off
    }
    if (this._isDisposed) {
      return;
    }
    this._problem = answer.problem;
    // A broker that is away says nothing about grants: the last known ones keep counting down.
    if (answer.problem === null) {
      this._grants = answer.grants;
    }
    if (answer.now !== null) {
      this._skew = answer.now - Date.now();
    }
    this._warn();
    this._changed.emit();
  }

  private _onTick(): void {
    if (this._grants.some(grant => grant.state !== 'ended')) {
      this._warn();
      this._changed.emit();
    }
  }

  private _warn(): void {
    const now = this.now();
    for (const grant of this._grants) {
      if (level(grant, now) === 'warn' && !this._warned.has(grant.id)) {
        this._warned.add(grant.id);
        this._ending.emit(grant);
      }
    }
  }

  private readonly _fetch: () => Promise<IAnswer>;
  private readonly _poll: Poll<void, unknown>;
  private readonly _tick: ReturnType<typeof setInterval>;
  private readonly _warned = new Set<string>();
  private readonly _changed = new Signal<this, void>(this);
  private readonly _ending = new Signal<this, IGrant>(this);
  private _grants: readonly IGrant[] = [];
  private _problem: IProblem | null = null;
  private _skew = 0;
  private _isDisposed = false;
}
