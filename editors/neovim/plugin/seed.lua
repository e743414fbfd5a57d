if vim.g.loaded_seed then
  return
end
vim.g.loaded_seed = true

if vim.fn.has("nvim-0.11") == 0 then
  vim.notify_once("seed: Neovim 0.11 or newer is needed", vim.log.levels.WARN)
  return
end

vim.api.nvim_set_hl(0, "SeedGhost", { default = true, link = "Comment" })
vim.api.nvim_set_hl(0, "SeedHint", { default = true, link = "NonText" })

vim.api.nvim_create_user_command("Seed", function(call)
  require("seed.command").run(call)
end, {
  nargs = "*",
  range = true,
  desc = "Local code completion",
  complete = function(lead, line)
    return require("seed.command").complete(lead, line)
  end,
})

vim.api.nvim_create_autocmd("LspAttach", {
  group = vim.api.nvim_create_augroup("seed.attach", { clear = true }),
  callback = function(event)
    local client = vim.lsp.get_client_by_id(event.data.client_id)
    if client and client.name == "seed_lsp" then
      require("seed.handlers").attach(client)
    end
  end,
})

for _, action in ipairs({
  "accept",
  "accept_word",
  "accept_line",
  "next",
  "previous",
  "dismiss",
  "trigger",
  "last",
}) do
  local name = ("<Plug>(seed-%s)"):format(action:gsub("_", "-"))
  vim.keymap.set("i", name, function()
    require("seed")[action]()
  end, { desc = "seed: " .. action })
end

if vim.g.seed_enabled ~= false then
  vim.lsp.enable("seed_lsp")
end
