import { ServerConnection } from '@jupyterlab/services';

import { fetchGrants, parseAnswer } from '../api';

const NOW = '2026-11-22T10:00:00.000Z';

function settings(answer: Response): ServerConnection.ISettings {
  return ServerConnection.makeSettings({
    baseUrl: 'http://localhost/base/',
    fetch: () => Promise.resolve(answer),
    Request: class {
      readonly headers = new Map();
      constructor(readonly url: string) {}
    } as unknown as typeof Request
  });
}

function response(status: number, body: unknown): Response {
  return {
    ok: status < 400,
    status,
    statusText: '',
    json: () => Promise.resolve(body)
  } as Response;
}

describe('parseAnswer', () => {
  it('reads grants, problem and clock', () => {
    expect(
      parseAnswer({
        grants: [{ id: 'grant_1', state: 'pending' }, { id: 'grant_2' }],
        problem: { code: 'broker-unreachable', what: 'Away.', next: 'Wait.' },
        now: NOW
      })
    ).toMatchObject({
      grants: [{ id: 'grant_1' }],
      problem: { code: 'broker-unreachable', what: 'Away.', next: 'Wait.' },
      now: Date.parse(NOW)
    });
  });

  it.each([
    ['null', null],
    ['a list', []],
    ['other types', { grants: {}, problem: 'bad', now: 3 }],
    ['a problem without words', { problem: { code: 'x' } }]
  ])('survives %s', (_name, value) => {
    expect(parseAnswer(value)).toEqual({
      grants: [],
      problem: null,
      now: null
    });
  });

  it('names a problem without a code', () => {
    expect(parseAnswer({ problem: { what: 'Bad.' } }).problem).toEqual({
      code: 'unknown',
      what: 'Bad.',
      next: ''
    });
  });
});

describe('fetchGrants', () => {
  it('reads the answer', async () => {
    const answer = await fetchGrants(settings(response(200, { now: NOW })));
    expect(answer.now).toBe(Date.parse(NOW));
  });

  it('throws the server’s refusal', async () => {
    await expect(
      fetchGrants(settings(response(403, { message: 'Forbidden' })))
    ).rejects.toThrow('Forbidden');
  });
});
