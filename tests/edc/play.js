// Plays folders of an API collection (Postman's format 2.1) as its own runner would: variables filled
// in, each request sent, its script run with the small part of `pm` that the collection uses. What
// the scripts set is kept in the variables file, so that folders can be played one after another.
//
// usage: node play.js COLLECTION VARIABLES [FOLDER]...     all folders without one
'use strict';

const fs = require('fs');
const http = require('http');
const https = require('https');
const vm = require('vm');

const REPEATS_MAX = 300; // of one request that asks for itself again
const PAUSE_MS = 100;    // before each of them
const TIMEOUT_MS = 30000;

const [file, variablesFile, ...folders] = process.argv.slice(2);
const collection = JSON.parse(fs.readFileSync(file, 'utf8'));
const variables = Object.fromEntries((collection.variable || []).map(v => [v.key, v.value]));
Object.assign(variables, JSON.parse(fs.readFileSync(variablesFile, 'utf8')));

function fill(text) {
    return text.replace(/\{\{([^}]+)\}\}/g, (_, name) => {
        if (!(name in variables)) {
            throw new Error(`no variable ${name}`);
        }
        return variables[name];
    });
}

function send(request) {
    const url = new URL(fill(request.url.raw));
    const body = request.body ? fill(request.body.raw) : undefined;
    const headers = Object.fromEntries(request.header.map(h => [h.key, fill(h.value)]));
    if (body !== undefined) {
        headers['Content-Length'] = Buffer.byteLength(body);
    }
    const how = { method: request.method, headers, timeout: TIMEOUT_MS };
    return new Promise((resolve, reject) => {
        const call = (url.protocol === 'https:' ? https : http).request(url, how, answer => {
            const parts = [];
            answer.on('data', part => parts.push(part));
            answer.on('end', () => resolve({ code: answer.statusCode,
                                             text: Buffer.concat(parts).toString() }));
        });
        call.on('timeout', () => call.destroy(new Error('no answer in time')));
        call.on('error', reject);
        call.end(body);
    });
}

function same(a, b) {
    return JSON.stringify(a) === JSON.stringify(b);
}

// What `pm.expect(...)` of the collection needs; the real one is chai.
function expect(got) {
    const check = (good, wanted) => {
        if (!good) {
            throw new Error(`${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
        }
    };
    return { to: { eql: wanted => check(same(got, wanted), wanted),
                   be: { oneOf: wanted => check(wanted.some(w => same(got, w)), wanted) } } };
}

// Runs an item's script; gives the name of the request that it wants next, if it names one.
function judge(item, answer) {
    const scripts = (item.event || []).filter(e => e.listen === 'test');
    let next = null;
    const pm = {
        response: { code: answer.code, text: () => answer.text,
                    json: () => JSON.parse(answer.text) },
        collectionVariables: { set: (name, value) => { variables[name] = value; },
                               get: name => variables[name] },
        execution: { setNextRequest: name => { next = name; } },
        expect,
        test: (name, fn) => fn(),
    };
    for (const script of scripts) {
        vm.runInNewContext(script.script.exec.join('\n'), { pm }, { timeout: 5000 });
    }
    return next;
}

async function play(folder) {
    let at = 0;
    let repeats = 0;
    while (at < folder.item.length) {
        const item = folder.item[at];
        const answer = await send(item.request);
        let next;
        try {
            next = judge(item, answer);
        } catch (error) {
            throw new Error(`${item.name}: ${error.message}; ${answer.code} ${answer.text}`);
        }
        if (next === null) {
            console.log(`${folder.name}\t${item.name}\t${answer.code}`);
            at++;
            repeats = 0;
            continue;
        }
        at = folder.item.findIndex(i => i.name === next);
        if (at < 0 || ++repeats > REPEATS_MAX) {
            throw new Error(`${item.name}: ${at < 0 ? 'no ' + next : 'asked too often'}`);
        }
        await new Promise(resolve => setTimeout(resolve, PAUSE_MS));
    }
}

async function main() {
    const wanted = collection.item.filter(f => !folders.length || folders.includes(f.name));
    if (folders.length && wanted.length !== folders.length) {
        throw new Error(`no such folder among ${collection.item.map(f => f.name).join(', ')}`);
    }
    for (const folder of wanted) {
        await play(folder);
    }
    fs.writeFileSync(variablesFile, JSON.stringify(variables, null, 1));
}

main().catch(error => {
    console.error(`play: ${error.message}`);
    process.exit(1);
});
