/**
 * A grant as the broker shows it, and what a person wants to know of it at a moment: pure.
 */

import { fields, text, texts, time } from './json';

/** States of a grant; see docs/architecture.md. */
export type GrantState = 'pending' | 'scheduled' | 'active' | 'ended';

/** The part of the broker's view of a grant that the status bar shows. */
export interface IGrant {
  readonly id: string;
  readonly state: GrantState;
  readonly artifacts: readonly string[];
  readonly reason: string;
  readonly approvers: readonly string[];
  /** Whether it was given at once, to be reviewed after. */
  readonly breakGlass: boolean;
  /** Whose review is still awaited. */
  readonly reviewBy: readonly string[];
  /** When access ends, RFC 3339; null before the clock has started. */
  readonly endsAt: string | null;
  /** When to warn of that, RFC 3339; null where the broker says no time. */
  readonly warnAt: string | null;
  /** When a pending request lapses, RFC 3339. */
  readonly pendingUntil: string | null;
}

/** How urgent a grant is. */
export type Level = 'quiet' | 'warn' | 'over';

const STATES: readonly string[] = ['pending', 'scheduled', 'active', 'ended'];

/**
 * Read one grant out of an answer.
 *
 * @returns null for anything that is not a grant, so that a broker of another
 * version shows less instead of breaking the status bar.
 */
export function parseGrant(value: unknown): IGrant | null {
  const raw = fields(value);
  const id = text(raw.id);
  const state = text(raw.state);
  if (!id || !STATES.includes(state)) {
    return null;
  }
  return {
    id,
    state: state as GrantState,
    artifacts: texts(raw.artifacts),
    reason: text(raw.reason),
    approvers: texts(raw.approvers),
    breakGlass: raw.break_glass === true,
    reviewBy: texts(raw.review_by),
    endsAt: time(raw.ends_at),
    warnAt: texts(raw.warn).find(moment => time(moment) !== null) ?? null,
    pendingUntil: time(raw.pending_until)
  };
}

/** Milliseconds until the next end of this grant, or null where no clock runs. */
export function remaining(grant: IGrant, now: number): number | null {
  const end = grant.state === 'pending' ? grant.pendingUntil : grant.endsAt;
  return end === null || grant.state === 'ended' ? null : Date.parse(end) - now;
}

/** How urgent: an active grant warns from the first moment on that the broker names. */
export function level(grant: IGrant, now: number): Level {
  if (grant.state === 'ended') {
    return 'over';
  }
  const left = remaining(grant, now);
  if (grant.state !== 'active' || left === null) {
    return 'quiet';
  }
  if (left <= 0) {
    return 'over';
  }
  return grant.warnAt !== null && Date.parse(grant.warnAt) <= now
    ? 'warn'
    : 'quiet';
}

/** A duration as a clock: `1:59:30`, `4:05`, `0:00` for anything that is over. */
export function clock(milliseconds: number): string {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const pad = (n: number) => n.toString().padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  return hours > 0
    ? `${hours}:${pad(minutes)}:${pad(seconds % 60)}`
    : `${minutes}:${pad(seconds % 60)}`;
}

/** One line about one grant: its state, what happens next, and what is owed for it. */
export function describe(grant: IGrant, now: number): string {
  return standing(grant, now) + glass(grant);
}

/** Whether the glass was broken, and whose review is owed for it. */
function glass(grant: IGrant): string {
  if (!grant.breakGlass) {
    return '';
  }
  const names = grant.reviewBy.join(', ');
  return `; break-glass, ${names ? `review owed by ${names}` : 'reviewed'}`;
}

function standing(grant: IGrant, now: number): string {
  const left = remaining(grant, now);
  switch (grant.state) {
    case 'pending': {
      const asked = grant.approvers.join(', ') || 'an approver';
      return left === null
        ? `waiting for ${asked}`
        : `waiting for ${asked}, lapses in ${clock(left)}`;
    }
    case 'scheduled':
      return `${grant.breakGlass ? 'ready' : 'approved'}; the clock starts when a kernel takes the seat`;
    case 'active':
      return left !== null && left > 0 ? `active, ${clock(left)} left` : 'over';
    case 'ended':
      return 'ended';
  }
}

/** The live grants, the one that ends first in front. */
export function live(grants: readonly IGrant[], now: number): IGrant[] {
  const order: GrantState[] = ['active', 'scheduled', 'pending'];
  return grants
    .filter(grant => level(grant, now) !== 'over')
    .sort(
      (a, b) =>
        order.indexOf(a.state) - order.indexOf(b.state) ||
        (remaining(a, now) ?? Infinity) - (remaining(b, now) ?? Infinity) ||
        a.id.localeCompare(b.id)
    );
}

/** The status bar's few words for all of them. */
export function summary(grants: readonly IGrant[], now: number): string {
  const shown = live(grants, now);
  const active = shown.filter(grant => grant.state === 'active');
  const waiting = shown.filter(grant => grant.state === 'pending').length;
  const parts: string[] = [];
  if (active.length > 0) {
    const left = remaining(active[0], now);
    const count = active.length === 1 ? 'grant' : `${active.length} grants,`;
    parts.push(
      left === null ? `${active.length} active` : `${count} ${clock(left)}`
    );
  }
  const ready = shown.length - active.length - waiting;
  if (ready > 0) {
    parts.push(`${ready} ready`);
  }
  if (waiting > 0) {
    parts.push(`${waiting} waiting`);
  }
  return parts.join(' · ') || 'no grants';
}
