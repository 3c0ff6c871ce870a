/**
 * Reading what others sent: whatever it is, these give something of the kind that is wanted.
 */

/** The fields of an object; none of anything else. */
export function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)
    : {};
}

/** A list; an empty one for anything else. */
export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** A text, or what stands for one that is missing. */
export function text(value: unknown, missing = ''): string {
  return typeof value === 'string' ? value : missing;
}

/** The texts of a list. */
export function texts(value: unknown): string[] {
  return list(value).filter((item): item is string => typeof item === 'string');
}

/** A moment, RFC 3339; null for anything else. */
export function time(value: unknown): string | null {
  return Number.isNaN(Date.parse(text(value))) ? null : text(value);
}
