#!/usr/bin/perl
# An executor written from the contract of agent jobs: it reads its job from standard input, reports its session, does
# what the prompt says in place of an agent, and ends.
#
# The prompt has words: `wait=FILE` waits until the file exists, `exit=N` ends with N before the session is reported as
# finished, `stubborn` ignores SIGTERM. Whatever else it says, the agent answers "Did: <prompt>".
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use POSIX qw(strftime);

my $job  = decode_json(join '', <STDIN>);
my $url  = $ENV{AGENT_ORCHESTRATOR_API_URL};
my $name = $job->{session_name};
my $http = HTTP::Tiny->new(timeout => 5, max_redirect => 0);
my $now  = strftime('%Y-%m-%dT%H:%M:%S+00:00', gmtime);
my $id   = "$name-session";

sub fail { print STDERR "$_[0]\n"; exit 1 }
fail("schema version $job->{schema_version}") if $job->{schema_version} ne '1.0';
fail('another session in the environment') if ($ENV{AGENT_SESSION_NAME} // '') ne $name;

sub ask {
    my ($method, $path, $body) = @_;
    my $options = defined $body
      ? { headers => { 'Content-Type' => 'application/json' }, content => encode_json($body) }
      : {};
    my $answer = $http->request($method, "$url$path", $options);
    fail("$method $path: $answer->{status} $answer->{content}") if $answer->{status} != 200;
    return decode_json($answer->{content});
}

sub event {
    my ($type, %more) = @_;
    ask('POST', "/sessions/$id/events",
        { event_type => $type, session_id => $id, session_name => $name, timestamp => "$now $$", %more });
}

$SIG{TERM} = 'IGNORE' if $job->{prompt} =~ /\bstubborn\b/;
if ($job->{mode} eq 'start') {
    ask('POST', '/sessions', { session_id => $id, session_name => $name, project_dir => $job->{project_dir} });
    event('session_start');
}
else {
    $id = ask('GET', "/sessions/by-name/$name")->{session}{session_id};
    ask('PATCH', "/sessions/$id/metadata", { last_resumed_at => "$now $$" });
}
event('message', role => 'user', content => [{ type => 'text', text => $job->{prompt} }]);
if ($job->{prompt} =~ /\bwait=(\S+)/) {
    select undef, undef, undef, 0.05 until -e $1;
}
exit $1 if $job->{prompt} =~ /\bexit=(\d+)/;
event('message', role => 'assistant', content => [{ type => 'text', text => "Did: $job->{prompt}" }]);
event('session_stop', exit_code => 0, reason => 'completed');
exit 0;
