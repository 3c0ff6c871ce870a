import { ServerConnection } from '@jupyterlab/services';

import { IAnswer } from '../api';
import { IGrant } from '../grant';
import { Grants } from '../grants';

const serverSettings = ServerConnection.makeSettings();

function grant(secondsLeft: number, id = 'grant_1'): IGrant {
  const end = Date.now() + secondsLeft * 1000;
  return {
    id,
    state: 'active',
    artifacts: ['dataset/digits'],
    reason: '',
    approvers: [],
    breakGlass: false,
    reviewBy: [],
    endsAt: new Date(end).toISOString(),
    warnAt: new Date(end - 360_000).toISOString(),
    pendingUntil: null
  };
}

function answer(changes: Partial<IAnswer> = {}): IAnswer {
  return { grants: [], problem: null, now: null, ...changes };
}

describe('Grants', () => {
  let model: Grants;
  let next: () => Promise<IAnswer>;

  beforeEach(() => {
    jest.useFakeTimers({
      doNotFake: ['requestAnimationFrame', 'queueMicrotask']
    });
    next = () => Promise.resolve(answer());
    model = new Grants({ serverSettings, fetch: () => next() });
  });

  afterEach(() => {
    model.dispose();
    jest.useRealTimers();
  });

  async function poll(): Promise<void> {
    const done = model.refresh();
    await jest.advanceTimersByTimeAsync(1);
    await done;
  }

  it('shows what the server answers and says that it changed', async () => {
    const changed = jest.fn();
    model.changed.connect(changed);
    next = () => Promise.resolve(answer({ grants: [grant(3000)] }));
    await poll();
    expect(model.grants).toHaveLength(1);
    expect(model.problem).toBeNull();
    expect(changed).toHaveBeenCalled();
  });

  it('goes by the broker’s clock', async () => {
    const now = Date.now() + 3_600_000;
    next = () => Promise.resolve(answer({ now }));
    await poll();
    expect(Math.abs(model.now() - now)).toBeLessThan(1000);
  });

  it('keeps the last known grants while the broker is away', async () => {
    next = () => Promise.resolve(answer({ grants: [grant(3000)] }));
    await poll();
    const problem = { code: 'broker-unreachable', what: 'Away.', next: '' };
    next = () => Promise.resolve(answer({ problem }));
    await poll();
    expect(model.problem).toEqual(problem);
    expect(model.grants).toHaveLength(1);
  });

  it('names the server when that is away', async () => {
    next = () => Promise.reject(new Error('no route'));
    await poll().catch(() => undefined);
    expect(model.problem?.code).toBe('server-unreachable');
  });

  it('warns once for each grant, also while no answer comes', async () => {
    const ending = jest.fn();
    model.ending.connect(ending);
    next = () =>
      Promise.resolve(answer({ grants: [grant(600), grant(362, 'grant_2')] }));
    await poll();
    expect(ending).not.toHaveBeenCalled();
    next = () => Promise.reject(new Error('no route'));
    await jest.advanceTimersByTimeAsync(4000);
    expect(ending).toHaveBeenCalledTimes(1);
    expect(ending).toHaveBeenCalledWith(
      model,
      expect.objectContaining({ id: 'grant_2' })
    );
  });

  it('does nothing after dispose', async () => {
    const changed = jest.fn();
    model.changed.connect(changed);
    let resolve: (value: IAnswer) => void = () => undefined;
    next = () => new Promise(done => (resolve = done));
    void model.refresh().catch(() => undefined);
    await jest.advanceTimersByTimeAsync(1);
    model.dispose();
    model.dispose();
    expect(model.isDisposed).toBe(true);
    resolve(answer({ grants: [grant(10)] }));
    await jest.advanceTimersByTimeAsync(10_000);
    expect(model.grants).toHaveLength(0);
    expect(changed).not.toHaveBeenCalled();
  });
});
