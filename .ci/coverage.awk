# Reads a coverage profile of many test binaries and prints the share of
# statements that any of them ran, in core/ and plugins/. Test support (packages
# whose name ends in "test", testenv) does not count. Fails below -v least=90.
#
#   awk -v least=90 -f .ci/coverage.awk coverage.out

FNR == 1 && $1 == "mode:" { next }

{
	file = $1
	sub(/:[^:]*$/, "", file)
	package = file
	sub(/\/[^\/]*$/, "", package)
	if (package !~ /\/gateway\/(core|plugins)(\/|$)/ || package ~ /(test|testenv)$/) next
	# One line for each binary: a block counts once, as run if any of them ran it.
	if (!($1 in statements)) {
		statements[$1] = $2
		owner[$1] = package
	}
	if ($3 > 0) ran[$1] = 1
}

END {
	for (block in statements) {
		all += statements[block]
		inPackage[owner[block]] += statements[block]
		if (block in ran) {
			covered += statements[block]
			coveredIn[owner[block]] += statements[block]
		}
	}
	if (all == 0) {
		print "coverage: the profile holds no statement of core/ or plugins/"
		exit 1
	}
	print "least covered packages:"
	for (shown = 0; shown < 10; shown++) {
		worst = ""
		for (p in inPackage) {
			share[p] = 100 * coveredIn[p] / inPackage[p]
			if (!(p in printed) && (worst == "" || share[p] < share[worst] || share[p] == share[worst] && p < worst)) worst = p
		}
		if (worst == "") break
		printed[worst] = 1
		printf "  %5.1f %%  %5d statements  %s\n", share[worst], inPackage[worst], worst
	}
	total = 100 * covered / all
	printf "coverage of core and plugins: %.1f %% of %d statements (gate: %d %%)\n", total, all, least
	exit total < least
}
