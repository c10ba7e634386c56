-- Letters of the inbox that cannot be tried again, and refused commands: what may be in them, from us and from whoever writes to
-- that stream. Events that run again need the kernel inside the program: spec/flow/retry_spec.lua.
local ffi = require "ffi"
local codec = require "spec.support.codec"
local files = require "spec.support.files"
local header = require "spec.support.header"
ffi.cdef "typedef struct lua_State lua_State;"
local C = header.load("src/worker/retry.h", "src/rules/rulebook.h", "src/rules/timers.h", "src/redis/command.h")

local folder = files.temp_folder()
files.write_file(folder .. "/cart.lua", 'return { stream = "orders", on_event = function() end }')

local keep -- what C points to during one spec

local function text_reply(text)
  local reply = ffi.new("struct reply")
  reply.type, reply.text, reply.len = C.REPLY_STRING, text, #text
  keep[#keep + 1], keep[#keep + 2] = reply, text
  return reply
end

-- An entry of the inbox with these fields.
local function inbox_entry(fields)
  local list = {}
  for name, value in pairs(fields) do list[#list + 1], list[#list + 2] = text_reply(name), text_reply(value) end
  local elements = ffi.new("struct reply *[?]", #list + 1)
  for i, element in ipairs(list) do elements[i - 1] = element end
  local reply, entry = ffi.new("struct reply"), ffi.new("struct batch_entry")
  reply.type, reply.count, reply.elements = C.REPLY_ARRAY, #list, elements
  entry.fields = reply
  keep[#keep + 1], keep[#keep + 2], keep[#keep + 3] = elements, reply, entry
  return entry
end

local function packed(texts)
  local parts = { codec.head("array", #texts) }
  for i, text in ipairs(texts) do parts[i + 1] = codec.head("string", #text) .. text end
  return table.concat(parts)
end

local function with(changes)
  local fields = { event = packed { "data", "\x81\xa1a\1" }, stream = "orders", id = "17-3", rule = "cart", version = "1",
    reason = "error", message = "m", traceback = "t", at = "5", attempts = "2", key = "k\0", payload = "" }
  for name, value in pairs(changes) do fields[name] = value or nil end
  return fields
end

describe("a letter that is tried again", function()
  local book, config

  setup(function()
    keep = {}
    config = ffi.new("struct config")
    config.limits.load_ms, config.limits.vm_mb = 5000, 64
    local options = ffi.new("struct rulebook_options", { config = config, dir = folder })
    local out, why = ffi.new("struct rulebook *[1]"), ffi.new("struct error")
    local edition = ffi.new("struct edition *[1]")
    assert(C.edition_read(folder, edition, why) == 0, ffi.string(why.text))
    assert(C.rulebook_load(options, edition[0], out, why) == 0, ffi.string(why.text))
    C.edition_destroy(edition[0])
    book = out[0]
    assert(C.rulebook_is_sound(book))
  end)

  teardown(function() C.rulebook_release(book) end)

  before_each(function() keep = {} end)

  local function read(fields, refusal)
    local retry = ffi.gc(ffi.new("struct retry"), C.retry_fini)
    C.retry_init(retry, book, inbox_entry(fields), refusal)
    local kind = retry.is_event and "event" or retry.is_fired and "fired" or retry.is_command and "command" or ffi.string(retry.hopeless)
    return kind, retry
  end

  it("is hopeless when the event was not kept, or is damaged", function()
    local whole = packed { "data", "value" }
    local list = { "", "\xc0", "\x81\xa1a\xa1b", "\x91\xa1a", "\x92\xa1a\x90", whole .. "x", "\xdd\xff\xff\xff\xff" }
    for len = 0, #whole - 1 do list[#list + 1] = whole:sub(1, len) end
    for _, event in ipairs(list) do
      assert.equal("cannot be tried again: the raw event was not kept", (read(with { event = event })), codec.to_hex(event))
    end
    for _, changes in ipairs { { event = false }, { stream = "" }, { stream = false }, { id = "" }, { id = false }, { id = "1-x" },
      { id = "99999999999999999999-0" } } do
      assert.equal("cannot be tried again: the raw event was not kept", (read(with(changes))))
    end
    assert.equal("cannot be tried again: the raw event was not kept", (read {}))
  end)

  it("is hopeless when its rule is gone", function()
    assert.equal("cannot be tried again: no rule named 'gone' is loaded", (read(with { rule = "gone" })))
    assert.equal("cannot be tried again: no rule named 'car' is loaded", (read(with { rule = "car" })))
    assert.equal(("cannot be tried again: no rule named '%s' is loaded"):format(("r"):rep(64)), (read(with { rule = ("r"):rep(5000) })))
  end)

  it("of a timer or a window is what fired, for its rule alone", function()
    local kind, retry = read(with { event = "", stream = "", timer = "remind", id = "1795362638669", payload = "\x81\xa1a\1" })
    local fired = retry.fired
    assert.equal("fired", kind)
    assert.same({ 1795362638669, 1, 2 }, { fired.entry.ms, fired.entry.only, fired.entry.attempts })
    assert.same({ tonumber(C.TIMER_WALL), "remind", "k\0", "\x81\xa1a\1" }, { fired.kind, ffi.string(fired.name, fired.name_len),
      ffi.string(fired.key, fired.key_len), ffi.string(fired.payload, fired.payload_len) })
    assert.is_true(fired.entry.fields == nil and fired.reason == nil and not retry.is_event)
    kind, retry = read(with { event = "", stream = "", window = "17-27", id = "27", key = false, payload = "" })
    fired = retry.fired
    assert.equal("fired", kind)
    assert.same({ 27, tonumber(C.TIMER_WINDOW), "17-27", 0 }, { fired.entry.ms, fired.kind, ffi.string(fired.name, fired.name_len),
      fired.key_len })
    assert.is_true(fired.payload == nil and fired.start_ms == 0 and fired.stop_ms == 0)
  end)

  it("of a timer or a window is hopeless without its rule or due time", function()
    for _, id in ipairs { "", "x", "17-0", "-5", "9007199254740993", false } do
      assert.equal("cannot be tried again: its due time was not kept", (read(with { timer = "remind", id = id })))
    end
    assert.equal("cannot be tried again: it does not say of which rule it is", (read(with { window = "1-2", id = "2", rule = "" })))
    assert.equal("cannot be tried again: no rule named 'gone' is loaded", (read(with { timer = "t", id = "2", rule = "gone" })))
  end)

  it("of a timer or a window stays one when it fails again", function()
    for _, kind in ipairs { "timer", "window" } do
      local letter = ffi.new("struct letter")
      local _, retry = read(with { event = "", stream = "", [kind] = "a\0b", id = "17", rule = "gone" })
      C.retry_describe(retry, letter)
      assert.equal("a\0b", ffi.string(letter[kind], letter[kind .. "_len"]))
      assert.is_true(letter[kind == "timer" and "window" or "timer"] == nil)
    end
    local _, retry = read(with { reason = "refused", payload = "x" })
    local letter = ffi.new("struct letter")
    C.retry_describe(retry, letter)
    assert.is_true(letter.timer == nil and letter.window == nil)
  end)

  it("that was refused is its command, and nothing else", function()
    local kind, retry = read(with { reason = "refused", payload = "*1\r\n$4\r\nPING\r\n" })
    assert.equal("command", kind)
    assert.equal("*1\r\n$4\r\nPING\r\n", ffi.string(retry.command.text, retry.command.len))
    assert.equal("the refused command was not kept", (read(with { reason = "refused" })))
    assert.equal("the refused command was not kept", (read(with { reason = "refused", payload = false })))
  end)

  it("whose command was refused just now says why", function()
    assert.equal("NOPERM no", (read(with { reason = "refused", payload = "x" }, "NOPERM no")))
    assert.equal(("n"):rep(255), (read(with {}, ("n"):rep(1000))))
  end)

  it("describes the next letter by the one before, with one attempt more", function()
    local _, retry = read(with { reason = "refused", payload = "p\0q" })
    local letter = ffi.new("struct letter")
    C.retry_describe(retry, letter)
    assert.same({ "orders", "17-3", "cart", "1", "" }, { ffi.string(letter.stream), ffi.string(letter.id), ffi.string(letter.rule),
      ffi.string(letter.version), ffi.string(letter.traceback) })
    assert.same({ "k\0", "p\0q", 3 }, { ffi.string(letter.key, letter.key_len), ffi.string(letter.payload, letter.payload_len),
      letter.attempts })
    local before = os.time() * 1000
    assert.is_true(math.abs(tonumber(letter.at_ms) - before) < 60000)
    for _, attempts in ipairs { false, "", "x", "0", "-7" } do
      _, retry = read(with { reason = "refused", payload = "p", attempts = attempts })
      C.retry_describe(retry, letter)
      assert.equal(2, letter.attempts, tostring(attempts))
    end
    for text, want in pairs { ["41"] = 42, ["60000"] = 60001, ["4294967296"] = 60001, ["9223372036854775807"] = 60001 } do
      _, retry = read(with { reason = "refused", payload = "p", attempts = text })
      C.retry_describe(retry, letter)
      assert.equal(want, letter.attempts, text)
    end
  end)
end)
