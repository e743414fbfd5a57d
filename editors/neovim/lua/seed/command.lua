--- `:Seed` and its subcommands.
local edit = require("seed.edit")
local inline = require("seed.inline")
local preview = require("seed.preview")
local progress = require("seed.progress")
local say = require("seed.say")
local server = require("seed.server")
local status = require("seed.status")

local M = {}

---@param name string
---@param arguments any[]
---@param on_result fun(result: any)
local function run(name, arguments, on_result)
  local is_sent = server.execute(name, arguments, function(result, failure)
    if failure then
      say(failure.message)
    else
      on_result(result)
    end
  end)
  if not is_sent then
    say("The server does not run; see :checkhealth seed.")
  end
end

local function uri()
  return vim.uri_from_bufnr(0)
end

---@param method string
---@param on_result fun(result: table?)
local function request(method, on_result)
  local client = server.client(vim.api.nvim_get_current_buf())
  if not client then
    return say("The server does not run for this buffer; see :checkhealth seed.")
  end
  client:request(method, { uri = uri() }, function(failure, result)
    if failure then
      return say(failure.message)
    end
    on_result(result ~= vim.NIL and result or nil)
  end, 0)
end

local function explain()
  request("seed/explain", function(result)
    local lines = { status.current.message }
    for _, sentence in ipairs(vim.list_extend(vim.list_slice(result.against), result.notes)) do
      table.insert(lines, sentence)
    end
    if #result.against == 0 then
      table.insert(lines, "Nothing speaks against completions here.")
    end
    if result.latest and result.latest ~= vim.NIL then
      local reason = "The latest request was answered with nothing: %s."
      table.insert(lines, reason:format(result.latest))
    end
    preview.read("Completions here", lines)
  end)
end

local function inspect()
  request("seed/inspect", function(result)
    if not result then
      return say("There was no suggestion in this buffer.")
    end
    local lines = { ("%s, mode %s"):format(result.model, result.mode) }
    for _, part in ipairs(result.parts) do
      local path = part.path ~= vim.NIL and part.path or ""
      table.insert(lines, "")
      table.insert(lines, ("── %s %s (%d characters)"):format(part.source, path, part.chars))
      vim.list_extend(lines, vim.split(part.text:gsub("\r\n?", "\n"), "\n", { plain = true }))
    end
    preview.read("What the model saw", lines, vim.bo.filetype)
  end)
end

--- Bring back the latest suggestion: as gray text while typing, else to read and copy.
function M.last()
  local is_inserting = vim.api.nvim_get_mode().mode:sub(1, 1) == "i"
  run("seed.lastSuggestion", { uri() }, function(result)
    if not result then
      return say("There was no suggestion in this buffer.")
    end
    if is_inserting then
      return inline.offer(result.text)
    end
    local lines = vim.split(result.text:gsub("\r\n?", "\n"), "\n", { plain = true })
    preview.read("Latest suggestion", lines, vim.bo.filetype)
  end)
end

---@param minutes number?
function M.snooze(minutes)
  run("seed.snooze", minutes and { minutes } or {}, function(result)
    say(result > 0 and ("quiet for %g minutes"):format(result) or "no longer quiet")
  end)
end

---@param is_on boolean?
function M.toggle(is_on)
  local arguments = is_on == nil and {} or { is_on }
  run("seed.toggle", arguments, function(result)
    say(result and "completions are on" or "completions are off")
  end)
end

local SUBCOMMANDS = {
  cancel = function()
    say(progress.cancel() and "cancelled" or "there is no edit to cancel")
  end,
  edit = function(_, first, last)
    edit.choose(first, last)
  end,
  explain = explain,
  inspect = inspect,
  last = M.last,
  restart = server.restart,
  rewrite = edit.rewrite,
  snooze = function(rest)
    if rest ~= "" and not tonumber(rest) then
      return say("snooze takes the minutes, 0 ends it")
    end
    M.snooze(tonumber(rest))
  end,
  stats = function()
    run("seed.stats", {}, function(result)
      preview.read("Counts", vim.split(vim.inspect(result), "\n"))
    end)
  end,
  status = function()
    say(status.current.message)
  end,
  toggle = function(rest)
    if rest ~= "" and rest ~= "on" and rest ~= "off" then
      return say("toggle takes on, off, or nothing to switch over")
    end
    local is_on = nil
    if rest ~= "" then
      is_on = rest == "on"
    end
    M.toggle(is_on)
  end,
}

--- Carry out `:Seed`.
---@param call table as user commands get it
function M.run(call)
  local name, rest = call.args:match("^%s*(%S*)%s*(.-)%s*$")
  local subcommand = SUBCOMMANDS[name == "" and "status" or name]
  if not subcommand then
    return say(("there is no :Seed %s"):format(name))
  end
  local first, last
  if call.range > 0 then
    first, last = call.line1, call.line2
  end
  subcommand(rest, first, last)
end

--- What can follow on the command line.
---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(line:gsub("^.-Seed%s+", "", 1), "%s+")
  local choices = #words <= 1 and vim.tbl_keys(SUBCOMMANDS)
    or ({ toggle = { "on", "off" }, snooze = { "0", "5", "30", "60" } })[words[1]]
    or {}
  table.sort(choices)
  return vim.tbl_filter(function(choice)
    return vim.startswith(choice, lead)
  end, choices)
end

return M
