-- Rules that are edited while they run.
local json = require "dkjson"
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local peer = require "spec.support.peer"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

-- A rule that emits who it is for each event: the version it was given, and how many events its key had.
local function teller(version, head)
  return engine.rule(([[ctx.state.n = (ctx.state.n or 0) + 1
    ctx.emit("out", { v = %q, n = ctx.state.n, at = event.n })]]):format(version), head)
end

describe("a reload", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(rules, options)
    options = options or {}
    options.server, options.rules = server, rules
    e = engine.start(options)
    return e:wait_owner()
  end

  local function write(name, text) files.write_file(e.folder .. "/rules/" .. name, text) end

  -- Exit status, standard output and standard error of a command that asks the engine.
  local function ask(...)
    local words = { ... }
    words[#words + 1], words[#words + 2] = "--control", e.control
    return program.run(words)
  end

  local function reload()
    local code, out, err = ask "reload"
    assert.equal(0, code, out .. err)
    return out
  end

  -- Waits until a rule of this file's name runs in another version than `before`; gives the version.
  local function version(name)
    for _, rule in ipairs(e:status().rules) do
      if rule.name == name then return rule.version, rule end
    end
  end

  local function wait_other(name, before)
    e:wait_true(function() return (version(name)) ~= before end, 5, "another version of " .. name)
    return (version(name))
  end

  local function add(n, stream) server:call("XADD", stream or "orders", "1-" .. n, "n", n) end

  local function told()
    local list = {}
    for i, out in ipairs(e:emitted "out") do list[i] = out.v .. out.n end
    return list
  end

  it("keeps state and position", function()
    start { ["r.lua"] = teller "old" }
    add(1)
    add(2)
    e:wait_position("orders", "1-2")
    write("r.lua", teller "new")
    reload()
    add(3)
    e:wait_position("orders", "1-3")
    assert.same({ "old1", "old2", "new3" }, told())
    e:stop()
  end)

  it("adds and removes rules; what comes back finds its state", function()
    start { ["r.lua"] = teller "r" }
    add(1)
    e:wait_position("orders", "1-1")
    write("q.lua", teller("q", 'stream = "orders", name = "a-first"'))
    reload()
    add(2)
    e:wait_position("orders", "1-2")
    os.remove(e.folder .. "/rules/r.lua")
    reload()
    add(3)
    e:wait_position("orders", "1-3")
    write("r.lua", teller "again")
    reload()
    add(4)
    e:wait_position("orders", "1-4")
    assert.same({ "r1", "q1", "r2", "q2", "q3", "again3" }, told())
  end)

  it("reads the streams of the new rules, and goes on where an old one was left", function()
    server:call("XADD", "later", "1-1", "n", 1)
    start({ ["r.lua"] = teller "old" }, { from = "end" })
    add(1)
    e:wait_position("orders", "1-1")
    write("r.lua", teller("both", 'stream = { "orders", "later" }'))
    reload()
    e:wait_position("later", "1-1") -- --from end
    add(2, "later")
    e:wait_position("later", "1-2")
    add(2)
    e:wait_position("orders", "1-2")
    write("r.lua", teller("one", 'stream = "orders"'))
    reload()
    add(3, "later")
    add(3)
    e:wait_position("orders", "1-3")
    assert.equal("1-2", e:position "later")
    write("r.lua", teller("globs", 'stream = "l*"'))
    server:call("XADD", "least", "1-1", "n", 1)
    reload()
    e:wait_position("later", "1-3")
    e:wait_position("least", "1-1") -- --from end again
    server:call("XADD", "lost", "1-1", "n", 1)
    e:wait_position("lost", "1-1") -- under a known glob: from its start
    assert.same({ "old1", "both2", "both3", "one4", "globs5", "globs6" }, told())
    assert.same({}, e:letters())
    e:stop()
  end)

  it("lets a partition go on that a rule has stopped", function()
    start { ["r.lua"] = engine.rule('error "no"', 'stream = "orders", on_error = "stop"') }
    add(1)
    e:wait_logged "rule_stopped"
    write("r.lua", teller "mended")
    reload()
    e:wait_position("orders", "1-1")
    assert.same({ "mended1" }, told())
  end)

  it("waits for events that wait for answers", function()
    start { ["r.lua"] = engine.rule([[
      local answer = ctx.redis.get("k")
      ctx.emit("out", { v = "old" .. answer, n = event.n })]]) }
    server:call("SET", "k", "x")
    for n = 1, 500 do add(n) end
    write("r.lua", teller("new"))
    reload()
    add(501)
    e:wait_position("orders", "1-501")
    assert.equal(501, #told())
    e:stop()
  end)

  it("stops a file that takes too long to load, and says where", function()
    start({ ["r.lua"] = teller "old" }, { settings = { limits = { load_ms = 50 } } })
    write("slow.lua", "local n = 0\nwhile true do pcall(function() while true do n = n + 1 end end) end")
    local line = e:wait_logged "rule_refused"
    assert.matches("slow.lua:2: loading took longer than 50 ms (limits.load_ms)", line.message, 1, true)
    write("pattern.lua", 'return ("x"):rep(40):find(("x*"):rep(30) .. "y")')
    line = e:wait_logged("rule_refused", 10, 2)
    assert.matches("pattern.lua:1: loading took longer than 50 ms (limits.load_ms)", line.message, 1, true)
    add(1)
    e:wait_position("orders", "1-1")
    e:stop()
  end)

  it("is live when it is saved: written, moved over, by a symlink on the way", function()
    start { ["r.lua"] = teller "one" }
    local at = version "r"
    write("r.lua", teller "two")
    at = wait_other("r", at)
    files.write_file(e.folder .. "/rules/.r.lua.tmp", teller "three")
    os.rename(e.folder .. "/rules/.r.lua.tmp", e.folder .. "/rules/r.lua")
    at = wait_other("r", at)
    files.make_folder(e.folder .. "/elsewhere")
    files.write_file(e.folder .. "/elsewhere/r.lua", teller "four")
    os.rename(e.folder .. "/rules", e.folder .. "/before")
    os.execute(("ln -s elsewhere %s/rules"):format(e.folder))
    at = wait_other("r", at)
    files.make_folder(e.folder .. "/more")
    files.write_file(e.folder .. "/more/r.lua", teller "five")
    os.execute(("ln -s more %s/next && mv -T %s/next %s/rules"):format(e.folder, e.folder, e.folder))
    at = wait_other("r", at)
    files.write_file(e.folder .. "/more/r.lua", teller "six")
    at = wait_other("r", at)
    files.write_file(e.folder .. "/before/r.lua", teller "nobody's business")
    add(1)
    e:wait_position("orders", "1-1")
    assert.same({ "six1" }, told())
    assert.equal(at, (version "r"))
    e:stop()
  end)

  it("follows a release whose parent folder is a symlink", function()
    start { ["r.lua"] = teller "one" }
    local at = version "r"
    e:stop()
    for n, text in ipairs { "one", "two", "three" } do
      files.make_folder(("%s/releases/%d/rules"):format(e.folder, n))
      files.write_file(("%s/releases/%d/rules/r.lua"):format(e.folder, n), teller(text))
    end
    os.execute(("ln -s releases/1 %s/current"):format(e.folder))
    e = e:another { arguments = { "--rules", e.folder .. "/current/rules" } }
    e:wait_owner()
    assert.equal(at, (version "r"))
    for n = 2, 3 do
      os.execute(("ln -sfn releases/%d %s/.next && mv -T %s/.next %s/current"):format(n, e.folder, e.folder, e.folder))
      at = wait_other("r", at)
    end
    e:stop()
  end)

  it("takes an edit of a library, and a folder of libraries that appears", function()
    local text = 'local v = require "lib.v"\n' .. engine.rule([[ctx.emit("out", { v = v, n = event.n })]])
    start { ["r.lua"] = text, ["s.lua"] = teller("s", 'stream = "other"'), ["lib/v.lua"] = 'return "one"' }
    local at, still = version "r", version "s"
    write("lib/v.lua", 'return "two"')
    at = wait_other("r", at)
    files.make_folder(e.folder .. "/rules/lib/deep")
    write("lib/deep/w.lua", 'return "deep"')
    write("lib/v.lua", 'return require "lib.deep.w"')
    at = wait_other("r", at)
    write("lib/deep/w.lua", 'return "deeper"')
    wait_other("r", at)
    add(1)
    e:wait_position("orders", "1-1")
    assert.same({ "deeper1" }, told())
    assert.equal(still, (version "s")) -- does not require it
  end)

  it("keeps the last good version of a broken file, with its libraries of then, while the others change", function()
    local text = 'local v = require "lib.v"\n' .. engine.rule([[ctx.emit("out", { v = v, n = event.n })]])
    start { ["a.lua"] = text, ["b.lua"] = text, ["lib/v.lua"] = 'return "old"' }
    local a, b = version "a", version "b"
    write("lib/v.lua", 'return "new"')
    write("a.lua", "this is no Lua")
    b = wait_other("b", b)
    assert.equal(a, (version "a"))
    assert.same({ { file = e.folder .. "/rules/a.lua", line = 1, message = "'=' expected near 'is'" } }, e:status().problems)
    local line = e:wait_logged "rule_refused"
    assert.same({ "a.lua", a }, { line.file, line.stays })
    local code, out, err = ask "reload"
    assert.equal(1, code)
    assert.equal("nothing has changed\n", out)
    assert.matches("/rules/a.lua:1: '=' expected near 'is'\n", err, 1, true)
    code, out = ask "status"
    assert.equal(0, code)
    assert.matches("/rules/a.lua:1: '=' expected near 'is'", out, 1, true)
    add(1)
    e:wait_position("orders", "1-1")
    assert.same({ "old1", "new1" }, told())
    write("a.lua", text)
    wait_other("a", a)
    assert.same({}, e:status().problems)
    assert.equal(b, (version "b"))
    add(2)
    e:wait_position("orders", "1-2")
    assert.same({ "old1", "new1", "new2", "new2" }, told())
  end)

  it("keeps the last good version of a file that cannot be read, while the others change", function()
    start { ["a.lua"] = teller "a", ["b.lua"] = teller "b" }
    local a, b = version "a", version "b"
    os.execute(("ln -sf /proc/self/mem %s/rules/a.lua"):format(e.folder)) -- nobody can read its beginning
    write("b.lua", teller "b again")
    b = wait_other("b", b)
    assert.equal(a, (version "a"))
    local problem = { file = e.folder .. "/rules/a.lua", line = 1,
      message = "cannot be read: Input/output error; let the engine's user read it, or remove it" }
    assert.same({ problem }, e:status().problems)
    local code, out = program.run { "check", e.folder .. "/rules" }
    assert.equal(1, code)
    assert.matches(("%s:1: %s"):format(problem.file, problem.message), out, 1, true)
    os.remove(e.folder .. "/rules/a.lua")
    write("a.lua", teller "a again")
    wait_other("a", a)
    assert.same({}, e:status().problems)
    assert.equal(b, (version "b"))
  end)

  it("refuses a new file that is broken, dies or claims a rule's name, and nothing else", function()
    start { ["m.lua"] = teller "m" }
    local at = version "m"
    write("broken.lua", "return 1")
    write("a.lua", teller("thief", 'stream = "orders", name = "m"'))
    e:wait_logged("rule_refused", 5, 2)
    local problems = e:status().problems
    table.sort(problems, function(x, y) return x.file < y.file end)
    assert.matches("a.lua", problems[1].file)
    assert.equal("a rule named 'm' is already in m.lua", problems[1].message)
    assert.matches("returns a number", problems[2].message)
    assert.equal(at, (version "m"))
    os.remove(e.folder .. "/rules/a.lua")
    os.remove(e.folder .. "/rules/broken.lua")
    assert.equal("nothing has changed\n", reload())
    assert.same({}, e:status().problems)
  end)

  it("does not take an empty folder for a wish", function()
    start { ["r.lua"] = teller "r" }
    os.remove(e.folder .. "/rules/r.lua")
    local line = e:wait_logged "rule_refused"
    assert.equal(e.folder .. "/rules: there are no rules: no file ends with .lua", line.message)
    add(1)
    e:wait_position("orders", "1-1")
    assert.same({ "r1" }, told())
    write("r.lua", teller "back")
    wait_other("r", (version "r"))
    assert.same({}, e:status().problems)
  end)

  it("keeps state over a new name of the file", function()
    start { ["r.lua"] = teller("one", 'stream = "orders", name = "kept"') }
    add(1)
    e:wait_position("orders", "1-1")
    os.rename(e.folder .. "/rules/r.lua", e.folder .. "/rules/q.lua")
    reload()
    add(2)
    e:wait_position("orders", "1-2")
    assert.same({ "one1", "one2" }, told())
    assert.equal("q.lua", select(2, version "kept").file)
  end)

  it("takes all changes of a burst together, and tells them in one line", function()
    local rules = {}
    for n = 1, 20 do rules[("r%02d.lua"):format(n)] = teller("old" .. n, ('stream = "orders", key = "n", name = "r%02d"'):format(n)) end
    start(rules)
    local before = e:status().rules[1].version
    for n = 1, 20 do
      write(("r%02d.lua"):format(n), teller("new" .. n, ('stream = "orders", key = "n", name = "r%02d"'):format(n)))
    end
    wait_other("r01", before)
    local lines = e:logged "reloaded"
    assert.equal(1, #lines)
    assert.matches("^r01 %x+ %-> %x+, r02 .* and 10 more$", lines[1].changed)
    assert.same({}, { lines[1].added, lines[1].removed }) -- nothing to tell
  end)

  it("tells what changed, by name and version", function()
    start { ["a.lua"] = teller "a", ["b.lua"] = teller "b" }
    local at = version "a"
    write("a.lua", teller "a again")
    os.remove(e.folder .. "/rules/b.lua")
    write("c.lua", teller "c")
    e.process:signal "HUP"
    local line = e:wait_logged "reloaded"
    assert.equal(("a %s -> %s"):format(at, (version "a")), line.changed)
    assert.matches("^c %x+$", line.added)
    assert.matches("^b %x+$", line.removed)
    local code, _, err = program.run { "reload", "--control", e.folder .. "/nobody" }
    assert.equal(1, code)
    assert.matches("no engine answers", err)
  end)

  it("runs each event by one version of all rules", function()
    local function pair(n)
      return { ["a.lua"] = engine.rule(([[ctx.redis.hset("a", event.n, %d)]]):format(n)),
        ["b.lua"] = engine.rule(([[ctx.redis.hset("b", event.n, %d)]]):format(n)) }
    end
    start(pair(0))
    local n = 0
    for round = 1, 8 do
      for name, text in pairs(pair(round)) do write(name, text) end
      e.process:signal "HUP"
      e:wait_true(function()
        for _ = 1, 200 do
          n = n + 1
          add(n)
        end
        return #e:logged "reloaded" >= round
      end)
    end
    e:wait_position("orders", "1-" .. n)
    local a, b, last, versions = server:hash "a", server:hash "b", 0, {}
    for i = 1, n do
      local one = a[tostring(i)]
      assert.equal(one, b[tostring(i)], "event " .. i)
      assert.is_true(tonumber(one) >= last)
      last = tonumber(one)
      versions[last] = true
    end
    assert.is_true(#versions >= 7)
    assert.same({}, e:letters())
    e:stop()
  end)

  it("may come to two instances at different moments", function()
    start { ["r.lua"] = teller "old" }
    local other = engine.start { server = server, rules = { ["r.lua"] = teller "old" } }
    finally(function() other:kill() end)
    other:wait_logged "standby"
    add(1)
    e:wait_position("orders", "1-1")
    files.write_file(other.folder .. "/rules/r.lua", teller "new")
    other:wait_logged "reloaded"
    add(2)
    e:wait_position("orders", "1-2")
    e:stop()
    add(3)
    other:wait_position("orders", "1-3")
    e = other
    assert.same({ "old1", "old2", "new3" }, told())
  end)

  it("comes to a worker that died meanwhile", function()
    start { ["r.lua"] = teller "old" }
    write("r.lua", teller "new")
    e.process:signal "HUP"
    for _ = 1, 3 do
      local before = e:status().workers[1].pid
      os.execute("kill -9 " .. before)
      e:wait_true(function() local pid = e:status().workers[1].pid return pid ~= 0 and pid ~= before end)
    end
    reload()
    add(1)
    e:wait_position("orders", "1-1")
    assert.same({ "new1" }, told())
  end)

  -- The words go over the control socket, without a process.
  local function begin_question(text)
    local connection = peer.connect(e.control)
    connection:write(text .. "\n")
    return connection
  end

  local function answer_to(connection)
    wait.until_true(function()
      connection:read()
      return connection.is_closed
    end, 10, "the answer")
    local answer = json.decode((connection:take()))
    connection:close()
    return answer
  end

  local function question(text) return answer_to(begin_question(text)) end

  -- A worker that has committed nothing yet is started again after 50 ms and more: so there is a while with none.
  it("is not done before the next worker runs it, when the only one dies", function()
    start { ["r.lua"] = teller "old" }
    local pid = e:status().workers[1].pid
    os.execute("kill -STOP " .. pid)
    write("r.lua", teller "new")
    local connection = begin_question "reload"
    -- It was found sound, and sent to one that stands still: what that one runs is no longer what is to run.
    e:wait_true(function() return select(2, version "r").previous == nil end)
    os.execute("kill -9 " .. pid)
    assert.same({}, answer_to(connection).refusals)
    local worker = e:status().workers[1]
    assert.is_true(worker.pid ~= 0 and worker.pid ~= pid)
    assert.is_string(select(2, version "r").previous)
  end)

  it("is told of when three workers die before they have loaded it, and the next edit comes", function()
    start { ["r.lua"] = teller "old" }
    -- Loading it takes long enough to kill a worker meanwhile.
    write("r.lua", "local n = 0 for i = 1, 1e8 do n = n + i end\n" .. teller "slow")
    local connection = begin_question "reload"
    e:wait_true(function() return select(2, version "r").previous == nil end, 15)
    local before = 0
    for _ = 1, 3 do
      e:wait_true(function()
        local pid = e:status().workers[1].pid
        if pid == 0 or pid == before then return false end
        before = pid
        return true
      end)
      os.execute("kill -9 " .. before)
    end
    assert.same({ { worker = 1, message = "it ended 3 times before it had loaded them" } }, answer_to(connection).refusals)
    write("r.lua", teller "new")
    reload()
    add(1)
    e:wait_position("orders", "1-1")
    assert.same({ "new1" }, told())
  end)

  local function resident_kb(pid)
    return tonumber(files.read_file(("/proc/%d/status"):format(pid)):match "VmRSS:%s*(%d+)")
  end

  it("comes many times without growth of memory", function()
    local count = os.getenv "VARIANT" == "asan" and 500 or 1000 -- slow there, and less to be seen
    -- A sanitizer keeps what was freed for a while: less than what 300 reloads free, so that it is full before the first look.
    local sanitizer = (os.getenv "ASAN_OPTIONS" or "") .. ":quarantine_size_mb=4:thread_local_quarantine_size_kb=64"
    start({ ["r.lua"] = teller "0" }, { env = { ASAN_OPTIONS = sanitizer } })
    local worker, first = e:status().workers[1].pid, {}
    for n = 1, count do
      write("r.lua", teller(tostring(n % 50)))
      local answer = question "reload"
      assert.same({}, answer.problems)
      assert.same({}, answer.refusals)
      if n == 300 then first = { resident_kb(worker), resident_kb(e.process.pid) } end
      if n % 100 == 0 then add(n) end
    end
    e:wait_position("orders", "1-" .. count)
    assert.equal(count, #e:logged "reloaded")
    local last = { resident_kb(worker), resident_kb(e.process.pid) }
    assert.equal(worker, e:status().workers[1].pid)
    assert.is_true(last[1] < first[1] + 3000, ("worker: %d -> %d KiB"):format(first[1], last[1]))
    assert.is_true(last[2] < first[2] + 1000, ("supervisor: %d -> %d KiB"):format(first[2], last[2]))
    e:stop()
  end)

  it("of the same rules gives them a fresh VM when theirs is full of what no event made", function()
    start({ ["r.lua"] = "local kept = {}\n" .. engine.rule([[
      for n = 1, 1000 do kept[#kept + 1] = { event.n, n } end
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out", { v = "", n = ctx.state.n })]]) }, { settings = { limits = { vm_mb = 16 } } })
    for n = 1, 400 do add(n) end
    e:wait_position("orders", "1-400", 20)
    assert.same({}, e:letters())
    assert.equal("400", told()[400])
    assert.is_true(#e:logged "vm_full" >= 1)
    assert.equal(0, e:status().workers[1].restarts)
    e:stop()
  end)

  describe("is taken back by rollback", function()
    it("one version further each time, until the file is edited", function()
      start { ["r.lua"] = teller "one", ["s.lua"] = teller("s", 'stream = "other"') }
      local one = version "r"
      write("r.lua", teller "two")
      local two = wait_other("r", one)
      write("r.lua", teller "three")
      local three = wait_other("r", two)
      local code, out = ask("rollback", "r")
      assert.equal(0, code)
      assert.matches(("r +%s +%s"):format(three, two), out)
      local _, rule = version "r"
      assert.same({ two, true, one }, { rule.version, rule.rolled_back, rule.previous })
      add(1)
      e:wait_position("orders", "1-1")
      write("s.lua", teller("s again", 'stream = "other"')) -- another file: it holds
      reload()
      assert.equal(two, (version "r"))
      assert.equal(0, (ask("rollback", "r")))
      assert.equal(one, (version "r"))
      code, _, out = ask("rollback", "r")
      assert.equal(1, code)
      assert.matches("no version before", out)
      add(2)
      e:wait_position("orders", "1-2")
      write("r.lua", teller "four")
      local four = wait_other("r", one)
      _, rule = version "r"
      assert.same({ four, false, one }, { rule.version, rule.rolled_back, rule.previous })
      assert.same({ "two1", "one2" }, told())
      e:stop()
    end)

    it("not when it can be loaded no more, and says why", function()
      local heavy = 'local l = { {}, {}, {} } for n = 1, 900000 do local t = l[n % 3 + 1] t[#t + 1] = n end\n' -- 12 MB
      start({ ["r.lua"] = heavy .. teller "one" }, { settings = { limits = { vm_mb = 16 } } })
      local one = version "r"
      write("r.lua", teller "two")
      local two = wait_other("r", one)
      write("a.lua", heavy .. engine.rule("ctx.state.n = #l", 'stream = "other"')) -- which it holds
      e:wait_true(function() return version "a" end, 5, "the other rule")
      local code, out, err = ask("rollback", "r")
      assert.equal(1, code)
      assert.equal("", out)
      assert.matches("rule r stays as it is; with its version before: " .. e.folder .. "/rules/r.lua:1: needs more memory to load",
        err, 1, true)
      assert.same({ two, {} }, { (version "r"), e:status().problems })
    end)

    it("not across a change of state.version, nor of what is not there", function()
      start { ["r.lua"] = teller("one", 'stream = "orders"') }
      write("r.lua", teller("two", 'stream = "orders", state = { version = 2, migrate = function(old) return old end }'))
      wait_other("r", (version "r"))
      local code, _, err = ask("rollback", "r")
      assert.equal(1, code)
      assert.matches("keeps its states as version 2, and the version before .* as 1", err)
      code, _, err = ask("rollback", "rr")
      assert.equal(1, code)
      assert.matches("there is no rule named 'rr'; did you mean 'r'?", err, 1, true)
    end)
  end)
end)
