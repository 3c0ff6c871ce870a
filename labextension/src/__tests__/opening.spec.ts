import { Kernel } from '@jupyterlab/services';
import { JSONObject } from '@lumino/coreutils';

import { artifactsOf, OpeningError, openOutput } from '../opening';

const OUTPUT = { output_type: 'stream', name: 'stdout', text: '4711' };
const SEALED: JSONObject = { header: {}, ciphertext: 'AAAA' };

interface IAsked {
  target: string;
  data: JSONObject;
  disposed: boolean;
}

/** A kernel that answers a comm with `answers`, one message each, and then is done. */
function kernel(
  answers: unknown[],
  { name = 'aisec', gone = false, subshells = false } = {}
): { connection: Kernel.IKernelConnection; asked: IAsked } {
  const asked: IAsked = { target: '', data: {}, disposed: false };
  let started = !subshells;
  const comm = {
    onMsg: (message: unknown): void => void message,
    subshellStarted: Promise.resolve().then(() => {
      started = true;
    }),
    open: (data: JSONObject) => {
      expect(started).toBe(true);
      asked.data = data;
      const done = Promise.resolve().then(() => {
        answers.forEach(answer => comm.onMsg({ content: { data: answer } }));
        if (gone) {
          throw new Error('Canceled future');
        }
      });
      return { done };
    },
    dispose: () => {
      asked.disposed = true;
    }
  };
  const connection = {
    name,
    supportsSubshells: subshells,
    createComm: (target: string) => {
      asked.target = target;
      return comm;
    }
  };
  return {
    connection: connection as unknown as Kernel.IKernelConnection,
    asked
  };
}

async function failure(opening: Promise<unknown>): Promise<OpeningError> {
  const reason: unknown = await opening.catch((error: unknown) => error);
  expect(reason).toBeInstanceOf(OpeningError);
  return reason as OpeningError;
}

describe('openOutput', () => {
  it.each([false, true])(
    'asks the kernel over a comm (subshells: %p)',
    async subshells => {
      const { connection, asked } = kernel([{ output: OUTPUT }], { subshells });
      expect(await openOutput(connection, SEALED)).toEqual(OUTPUT);
      expect(asked).toEqual({
        target: 'jupyter_aisec.outputs',
        data: { sealed: SEALED },
        disposed: true
      });
    }
  );

  it('says what the kernel says', async () => {
    const error = { what: 'No grant.', next: '%grant request x', code: 'none' };
    const { connection, asked } = kernel([{ error }]);
    expect(await failure(openOutput(connection, SEALED))).toMatchObject(error);
    expect(asked.disposed).toBe(true);
  });

  it.each([
    ['there is no kernel', null, 'kernel-missing', 'Python 3 (secure)'],
    [
      'it is another kernel',
      kernel([], { name: 'python3' }).connection,
      'kernel-not-secure',
      'Change Kernel'
    ],
    ['nothing comes', kernel([]).connection, 'kernel-silent', 'Restart'],
    [
      'it is restarted',
      kernel([], { gone: true }).connection,
      'kernel-gone',
      'Show again'
    ],
    [
      'it is no output',
      kernel([{ output: { output_type: 'execute_request' } }]).connection,
      'kernel-silent',
      'Restart'
    ],
    [
      'an error says nothing',
      kernel([{ error: { what: 3 } }]).connection,
      'kernel-silent',
      'Restart'
    ]
  ])('says what to do when %s', async (_name, connection, code, next) => {
    const reason = await failure(openOutput(connection, SEALED));
    expect(reason.code).toBe(code);
    expect(reason.next).toContain(next);
  });

  it('takes an answer that came before the end', async () => {
    const { connection } = kernel([{ output: OUTPUT }], { gone: true });
    expect(await openOutput(connection, SEALED)).toEqual(OUTPUT);
  });

  it('leaves out advice that is none', async () => {
    const { connection } = kernel([{ error: { what: 'No.', next: 3 } }]);
    const reason = await failure(openOutput(connection, SEALED));
    expect([reason.next, reason.code]).toEqual(['', '']);
  });
});

describe('artifactsOf', () => {
  it.each([
    [null, []],
    [{ header: { keys: 'x' } }, []],
    [{ header: { keys: [null, { artifact: 3 }] } }, []],
    [
      {
        header: {
          keys: [
            { artifact: 'weights/minilm' },
            { artifact: 'dataset/digits' },
            { artifact: 'weights/minilm' }
          ]
        }
      },
      ['dataset/digits', 'weights/minilm']
    ]
  ])('of %j', (sealed, names) => {
    expect(artifactsOf(sealed)).toEqual(names);
  });
});
