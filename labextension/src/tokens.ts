import { Token } from '@lumino/coreutils';
import { IDisposable } from '@lumino/disposable';
import { ISignal } from '@lumino/signaling';

import { IGrant } from './grant';

/** Why nothing can be shown, and what to do about it, in the broker's own words. */
export interface IProblem {
  readonly code: string;
  readonly what: string;
  readonly next: string;
}

/** The grants of the person who runs this server, kept up to date. */
export interface IGrants extends IDisposable {
  /** The last known grants. */
  readonly grants: readonly IGrant[];

  /** What stands in the way of knowing them, if anything. */
  readonly problem: IProblem | null;

  /** The broker's clock, in milliseconds: a laptop's own may be wrong. */
  now(): number;

  /** Emitted after every answer and once a second while a clock runs. */
  readonly changed: ISignal<IGrants, void>;

  /** Emitted once for each grant that is about to end. */
  readonly ending: ISignal<IGrants, IGrant>;

  /** Ask again now. */
  refresh(): Promise<void>;
}

/** Other extensions may ask for the grants by this token. */
export const IGrants = new Token<IGrants>(
  'jupyter-aisec:IGrants',
  'The grants of the person who runs this server'
);
