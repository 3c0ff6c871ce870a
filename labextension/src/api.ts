import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { IGrant, parseGrant } from './grant';
import { fields, list, text } from './json';
import { IProblem } from './tokens';

/** What the server extension knows at one moment. */
export interface IAnswer {
  readonly grants: readonly IGrant[];
  readonly problem: IProblem | null;
  /** The broker's clock in milliseconds, or null when it did not say. */
  readonly now: number | null;
}

function parseProblem(value: unknown): IProblem | null {
  const { code, what, next } = fields(value);
  return typeof what === 'string'
    ? { code: text(code, 'unknown'), what, next: text(next) }
    : null;
}

/** Read the server extension's answer; what is not understood is left out. */
export function parseAnswer(value: unknown): IAnswer {
  const raw = fields(value);
  const now = Date.parse(text(raw.now));
  return {
    grants: list(raw.grants)
      .map(parseGrant)
      .filter((grant): grant is IGrant => grant !== null),
    problem: parseProblem(raw.problem),
    now: Number.isNaN(now) ? null : now
  };
}

/**
 * Ask the server extension for the person's grants.
 *
 * @throws ServerConnection.NetworkError or ServerConnection.ResponseError
 */
export async function fetchGrants(
  settings: ServerConnection.ISettings
): Promise<IAnswer> {
  const url = URLExt.join(settings.baseUrl, 'aisec', 'grants');
  const response = await ServerConnection.makeRequest(
    url,
    { cache: 'no-store' },
    settings
  );
  if (!response.ok) {
    throw await ServerConnection.ResponseError.create(response);
  }
  return parseAnswer(await response.json());
}
